// A fake of the Messages API for tests of whole turns: a function decides each answer.

import { createServer } from "node:http";

/** Starts a server. `answer(words, step, all)` gets the message that began the turn, how many answers the turn has had,
 * and the message with Slipway's notes; it returns what the model does: `text`, `calls` of tools as [name, input], or an HTTP error with `status`. */
export function startModel(answer) {
  let calls = 0;
  const server = createServer((request, response) => {
    // It has no list of models.
    if (request.method !== "POST") return response.writeHead(404).end();
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      const { messages } = JSON.parse(Buffer.concat(chunks));
      const isResult = ({ content }) => content.some(({ type }) => type === "tool_result");
      const began = messages.findLastIndex((message) => message.role === "user" && !isResult(message));
      const texts = messages[began].content.map(({ text }) => text ?? "");
      const words = texts.filter((text) => !text.startsWith("(From Slipway")).join("\n");
      const reply = answer(words, (messages.length - 1 - began) / 2, texts.join("\n"));
      if (reply.status) {
        response.writeHead(reply.status, { "content-type": "application/json", ...reply.headers });
        return response.end(JSON.stringify({ type: "error", error: { type: reply.type, message: reply.text } }));
      }
      response.writeHead(200, { "content-type": "text/event-stream" });
      const send = (type, rest) => response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...rest })}\n\n`);
      let index = 0;
      const block = (start, delta) => {
        send("content_block_start", { index, content_block: start });
        send("content_block_delta", { index, delta });
        send("content_block_stop", { index });
        index += 1;
      };
      send("message_start", { message: { usage: { input_tokens: 900, output_tokens: 1 } } });
      if (reply.text) block({ type: "text", text: "" }, { type: "text_delta", text: reply.text });
      for (const [name, input] of reply.calls ?? []) {
        calls += 1;
        block({ type: "tool_use", id: `call${calls}`, name, input: {} }, { type: "input_json_delta", partial_json: JSON.stringify(input) });
      }
      send("message_delta", { delta: { stop_reason: reply.calls ? "tool_use" : "end_turn" }, usage: { output_tokens: 90 } });
      send("message_stop", {});
      response.end();
    });
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

/** The settings of a builder that uses this model. */
export const settingsFor = (model) => ({ ANTHROPIC_API_KEY: "k", ANTHROPIC_BASE_URL: `http://127.0.0.1:${model.address().port}` });
