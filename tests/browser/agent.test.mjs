// Questions, queued messages, protected files and continued turns in the browser, with a fake model that follows the
// instructions in its message.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, afterEach, before, test } from "node:test";
import { assertQuiet, openPage, shoot, startBrowser, startBuilder } from "./support.mjs";

/** A fake of the Messages API. “ask” asks a question, “hold” sends a few words and then nothing, “break” disconnects once
 * inside a file and holds after it, “type” sends the text and the file that the test sets, every other message ends the turn. */
function startModel() {
  let broken = false;
  const server = createServer((request, response) => {
    if (request.method !== "POST") {
      // It has no list of models.
      response.writeHead(404).end();
      return;
    }
    const chunks = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => {
      const last = JSON.parse(Buffer.concat(chunks)).messages.at(-1).content;
      const texts = last.filter((block) => block.type === "text").map((block) => block.text);
      const continued = texts.some((text) => text.startsWith("(From Slipway") && text.includes("The person pressed Continue"));
      const words = texts.filter((text) => !text.startsWith("(From Slipway")).at(-1) ?? (continued ? "Continue" : "");
      response.writeHead(200, { "content-type": "text/event-stream" });
      const send = (type, rest) => response.write(`event: ${type}\ndata: ${JSON.stringify({ type, ...rest })}\n\n`);
      const block = (index, start, delta) => {
        send("content_block_start", { index, content_block: start });
        send("content_block_delta", { index, delta });
      };
      send("message_start", { message: { usage: { input_tokens: 9, output_tokens: 1 } } });
      if (words.startsWith("hold")) {
        block(0, { type: "text", text: "" }, { type: "text_delta", text: "I begin" });
        return;
      }
      if (words.startsWith("type")) {
        send("content_block_start", { index: 0, content_block: { type: "text", text: "" } });
        sayMore = (text) => send("content_block_delta", { index: 0, delta: { type: "text_delta", text } });
        typeFile = (content) => {
          const input = { type: "input_json_delta", partial_json: `{"path":"public/b.txt","content":"${content}` };
          send("content_block_stop", { index: 0 });
          block(1, { type: "tool_use", id: `t${Date.now()}`, name: "write_file", input: {} }, input);
          typeMore = (more) => send("content_block_delta", { index: 1, delta: { type: "input_json_delta", partial_json: more } });
        };
        return;
      }
      if (words.startsWith("break")) {
        block(0, { type: "text", text: "" }, { type: "text_delta", text: broken ? "A whole sentence" : "Half a sentence" });
        const input = { type: "input_json_delta", partial_json: '{"path":"public/b.txt","content":"half' };
        block(1, { type: "tool_use", id: `t${Date.now()}`, name: "write_file", input: {} }, input);
        // After the page shows the sent text, so that the text exists there when the stream breaks.
        if (!broken) breakOff = () => response.destroy();
        broken = true;
        return;
      }
      let stop = "end_turn";
      if (words.startsWith("ask")) {
        const input = { question: "Which colour shall the harbour have?", choices: ["Sea green", "Slate"] };
        block(0, { type: "tool_use", id: `t${Date.now()}`, name: "ask_user", input: {} }, { type: "input_json_delta", partial_json: JSON.stringify(input) });
        stop = "tool_use";
      } else {
        block(0, { type: "text", text: "" }, { type: "text_delta", text: `You said: ${words}` });
      }
      send("content_block_stop", { index: 0 });
      send("message_delta", { delta: { stop_reason: stop }, usage: { output_tokens: 9 } });
      send("message_stop", {});
      response.end();
    });
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

let breakOff;
let sayMore;
let typeFile;
let typeMore;
let model;
let builder;
let browser;
before(async () => {
  model = await startModel();
  const settings = { ANTHROPIC_API_KEY: "k", ANTHROPIC_BASE_URL: `http://127.0.0.1:${model.address().port}` };
  [builder, browser] = await Promise.all([startBuilder(settings), startBrowser()]);
});
after(async () => {
  await browser?.close();
  await builder?.stop();
  model?.closeAllConnections();
  model?.close();
});

const open = [];
afterEach(() => Promise.all(open.splice(0).map((page) => page.context().close())));

async function pageOf(name, options) {
  await builder.api("POST", "/apps", { name, template: "static-site", description: "Pressed" });
  const page = await openPage(browser, options);
  open.push(page);
  await page.goto(`${builder.origin}/apps/${name}`);
  return page;
}

const say = async (page, words, button = "Send") => {
  await page.getByRole("textbox", { name: "Message", exact: true }).fill(words);
  await page.getByRole("button", { name: button }).click();
};

test("the text of a broken answer is removed from the page", { timeout: 60_000 }, async () => {
  const page = await pageOf("broken-harbour");
  await say(page, "break off");
  const turn = page.locator(".turn").last();
  await turn.getByText("Half a sentence").waitFor();
  await turn.locator(".step.busy", { hasText: "public/b.txt" }).waitFor();
  breakOff();
  await turn.getByText("A whole sentence").waitFor();
  await turn.getByText("The unfinished answer was discarded.").waitFor();
  assert.equal(await turn.getByText("Half a sentence").count(), 0);
  await turn.locator(".step.busy", { hasText: "public/b.txt" }).waitFor();
  assert.equal(await turn.locator(".step.busy").count(), 1, "the file is begun anew");
  await page.getByRole("button", { name: "Stop" }).click();
  await turn.getByText(/^You stopped this\./).waitFor();
  assert.equal(await turn.locator(".step.busy").count(), 0);
  const id = await turn.getAttribute("data-turn");
  await page.goto(`${builder.origin}/apps/broken-harbour?steps=${id}`);
  await turn.getByText("Did not write a file: stopped").waitFor();
  assert.equal(await turn.getByText("public/b.txt").count(), 0, "nobody writes it any more");
  assertQuiet(page);
});

test("an open page equals a page that is loaded at the same step", { timeout: 60_000 }, async () => {
  const page = await pageOf("typed-harbour");
  // All announcements to screen readers.
  await page.evaluate(() => {
    window.said = [];
    const live = document.querySelector("#live");
    new MutationObserver(() => window.said.push(live.textContent)).observe(live, { childList: true, characterData: true, subtree: true });
  });
  await say(page, "type it");
  const turn = page.locator(".turn").last();
  const same = async () => {
    const loaded = await openPage(browser);
    open.push(loaded);
    await loaded.goto(`${builder.origin}/apps/typed-harbour`);
    const shown = async (page) => {
      const last = page.locator(".turn").last();
      return [await last.locator(".blocks").innerHTML(), await last.locator("[data-doing]").textContent()];
    };
    assert.deepEqual(await shown(page), await shown(loaded));
    await loaded.close();
  };
  await page.waitForFunction(() => document.querySelector("[data-doing]")?.textContent === "Thinking");
  while (!sayMore) await new Promise((resolve) => setTimeout(resolve, 20));
  sayMore("The *harbour* <i>");
  await turn.getByText("The *harbour* <i>").waitFor();
  await same();
  sayMore(" has\n\n- a mole\n- a crane\n\nand");
  await turn.locator(".tail", { hasText: /^and$/ }).waitFor();
  assert.equal(await turn.locator(".prose em").textContent(), "harbour");
  assert.equal(await turn.locator(".prose li").count(), 2);
  await same();
  typeFile("one & <two>\\nthr");
  const code = turn.locator('[data-path="public/b.txt"] pre');
  await code.getByText("one & <two>").waitFor();
  assert.equal(await turn.locator(".tail").count(), 0, "the answer is rendered to its end");
  await same();
  typeMore("ee\\nfour");
  await code.getByText("four").waitFor();
  assert.equal(await turn.locator(".lines").textContent(), "3 lines");
  await same();
  typeMore('"}');
  await page.getByRole("button", { name: "Stop" }).click();
  await turn.getByText(/^You stopped this\./).waitFor();
  const said = await page.evaluate(() => window.said);
  for (const words of ["Thinking", "Answering", "Writing public/b.txt"]) assert.ok(said.includes(words), `${words} in ${said}`);
  assertQuiet(page);
});

test("a choice answers a question, and the choices disappear", { timeout: 60_000 }, async () => {
  const page = await pageOf("asked-harbour");
  await say(page, "ask me");
  const question = page.getByRole("region", { name: "Question" });
  await question.getByText("Which colour shall the harbour have?").waitFor();
  await shoot(page, "agent question");
  await question.getByRole("button", { name: "Sea green" }).click();
  await page.locator(".prose", { hasText: "You said: Sea green" }).waitFor();
  assert.equal(await question.getByRole("button").count(), 0, "what is answered is not asked any more");
  await question.getByText("You answered: Sea green").waitFor();
  await page.reload();
  assert.equal(await question.count(), 1);
  await question.getByText("You answered: Sea green").waitFor();
  await page.locator(".summary", { hasText: "Asked a question" }).waitFor();
  assert.equal(await question.getByRole("button").count(), 0);
  assertQuiet(page);
});

test("messages are queued, can be cancelled, and Continue resumes after Stop", { timeout: 60_000 }, async () => {
  const page = await pageOf("queued-harbour");
  await say(page, "hold on");
  await page.getByRole("button", { name: "Queue" }).waitFor();
  await page.locator("#turns [data-live] .tail, #turns [data-live] .prose").first().waitFor();
  await say(page, "second", "Queue");
  await say(page, "third", "Queue");
  await page.getByText("Queued").nth(1).waitFor();
  await shoot(page, "agent queue");
  const second = page.locator("#turns > li").nth(1);
  await second.getByRole("button", { name: "Cancel" }).click();
  await second.getByText("Cancelled before it started.").waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await page.locator(".prose", { hasText: "You said: third" }).waitFor();
  await page.getByRole("button", { name: "Send" }).waitFor();
  assert.equal(await page.getByRole("button", { name: "Cancel" }).count(), 0);
  assert.equal(await page.getByText("You said: second").count(), 0);

  await say(page, "hold again");
  // There is something to continue once the model has said something.
  await page.locator("#turns [data-live]", { hasText: "I begin" }).waitFor();
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByRole("button", { name: "Continue" }).click();
  await page.locator(".prose", { hasText: "You said: Continue" }).waitFor();
  assert.equal(await page.getByRole("button", { name: "Continue" }).count(), 0);
  assertQuiet(page);
});

test("a file is locked and unlocked beside its name", { timeout: 60_000 }, async () => {
  const page = await pageOf("locked-harbour");
  await page.goto(`${builder.origin}/apps/locked-harbour/code/public/style.css`);
  await page.getByRole("button", { name: "Lock" }).click();
  await page.getByRole("button", { name: "Unlock" }).waitFor();
  assert.equal(await page.getByRole("link", { name: "Edit" }).count(), 0);
  await shoot(page, "agent locked");
  const files = await builder.api("GET", "/apps/locked-harbour/files");
  assert.deepEqual(files.files.filter((file) => file.locked).map((file) => file.path), ["public/style.css"]);
  await page.getByRole("button", { name: "Unlock" }).click();
  await page.getByRole("link", { name: "Edit" }).waitFor();
  assertQuiet(page);
});
