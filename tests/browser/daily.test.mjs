// What somebody meets who works with Slipway every day: calls to an API, long answers, logs, the list of apps, the key.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, afterEach, before, describe, test } from "node:test";
import { PATIENCE, assertAccessible, assertQuiet, done, eventually, logIn, openAt, openPage, password, shoot, startBrowser, startBuilder } from "./support.mjs";

let builder;
let browser;
let page;
const site = "paper-kite";
const api = "tide-table";
const program = `"""Tides."""
import asyncio

from fastapi import FastAPI
from pydantic import BaseModel, Field

app = FastAPI()


class Tide(BaseModel):
    harbour: str = Field(examples=["Cuxhaven"])
    height: float = 3.2


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/tides/{harbour}")
def tides(harbour: str, days: int = 1) -> dict:
    """The next tides of a harbour.

    Heights are metres above chart datum.
    """
    return {"type": "tide", "loc": harbour, "days": days, "at": 1.0}


@app.post("/tides")
def add(tide: Tide) -> dict:
    return {"saved": tide.model_dump()}


@app.get("/slow")
async def slow() -> dict:
    await asyncio.sleep(4)
    return {"slow": True}
`;

before(async () => {
  [builder, browser] = await Promise.all([startBuilder(), startBrowser()]);
  await builder.api("POST", "/apps", { name: site, template: "static-site", description: "A page about kites" });
  await builder.api("POST", "/apps", { name: api, template: "simple-api", description: "Tides" });
  await builder.api("PUT", `/apps/${api}/files/main.py`, program);
  await done(builder, `/apps/${api}/previews`);
});
after(async () => {
  await browser?.close();
  await builder?.stop();
});
afterEach(() => page?.context().close());

const open = async (path, options) => (page = await openAt(browser, builder.origin + path, options));
const endpoint = (method, path) =>
  page.locator(".endpoints details").filter({ has: page.locator("summary", { hasText: method }) }).filter({ has: page.locator("summary code", { hasText: path }) });

describe("calls to an API", () => {
  test("parameters, an example body, the documentation and the order of keys", async () => {
    await open(`/apps/${api}?view=preview`);
    const tides = endpoint("GET", "/tides/{harbour}");
    await tides.locator("summary").first().click();
    await tides.getByText("Heights are metres above chart datum.").waitFor();
    await tides.getByLabel("harbour path").fill("Alte Liebe");
    await tides.getByLabel("days query").fill("3");
    await tides.getByRole("button", { name: "Try" }).click();
    const answer = tides.locator(".answer pre").first();
    await answer.waitFor();
    const text = await answer.textContent();
    assert.deepEqual([...text.matchAll(/"(\w+)":/g)].map(([, key]) => key), ["type", "loc", "days", "at"]);
    assert.match(text, /"days": 3/);
    assert.match(text, /1\.0/, "numbers as they were sent");
    const add = endpoint("POST", "/tides");
    await add.locator("summary").first().click();
    const body = JSON.parse(await add.getByLabel("Body (JSON)").inputValue());
    assert.deepEqual(body, { harbour: "Cuxhaven", height: 3.2 });
    await assertAccessible(page, "an API with an answer");
    await shoot(page, "try answers");
    assertQuiet(page);
  });

  test("a slow call says how long it has waited, and can be cancelled", async () => {
    await open(`/apps/${api}?view=preview`);
    const slow = endpoint("GET", "/slow");
    await slow.locator("summary").first().click();
    await slow.getByRole("button", { name: "Try" }).click();
    const waits = slow.locator(".try-answer .working");
    await waits.getByText(/Waiting for the app\s+[1-3]/).waitFor();
    await shoot(page, "try waits");
    await waits.getByRole("button", { name: "Cancel" }).click();
    await slow.getByText("Cancelled.").waitFor();
    assertQuiet(page);
  });

  test("an answer stays over a deployment", { timeout: 2 * PATIENCE }, async () => {
    await open(`/apps/${api}?view=preview`);
    const tides = endpoint("GET", "/tides/{harbour}");
    await tides.locator("summary").first().click();
    await tides.getByLabel("harbour path").fill("Emden");
    await tides.getByRole("button", { name: "Try" }).click();
    await tides.locator(".answer pre").first().waitFor();
    await builder.api("PUT", `/apps/${api}/files/main.py`, `${program}\n# Once more.\n`);
    await done(builder, `/apps/${api}/previews`);
    await page.getByText("A new version runs here.").waitFor();
    assert.match(await tides.locator(".answer pre").first().textContent(), /Emden/);
    await shoot(page, "try after a deployment");
    await page.getByRole("button", { name: "Reload the endpoints" }).click();
    await eventually("the form is empty again", async () => (await page.locator("[data-try] .answer").count()) === 0);
    assert.match(await page.locator("[data-recent] summary").first().textContent(), /Emden/, "it is among the recent ones");
    assertQuiet(page);
  });
});

describe("the conversation", () => {
  test("a composer that grows hides nothing, and a button leads to the newest line", async () => {
    await builder.api("POST", "/apps", { name: "long-kite", template: "static-site", description: "Kites" });
    for (let turn = 1; turn <= 8; turn++) await done(builder, "/apps/long-kite/turns", { prompt: `Change the title to Kite ${turn}` });
    await open("/apps/long-kite");
    const atEnd = () => page.locator("#talk").evaluate((talk) => talk.scrollHeight - talk.scrollTop - talk.clientHeight < 4);
    await eventually("it begins at its end", atEnd);
    await page.fill("#prompt", "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight");
    await eventually("it is still at its end", atEnd);
    await page.locator("#talk").evaluate((talk) => (talk.scrollTop = 0));
    const newest = page.getByRole("button", { name: "Newest" });
    await newest.waitFor();
    await shoot(page, "conversation newest");
    await newest.click();
    await eventually("it is at its end again", atEnd);
    await newest.waitFor({ state: "hidden" });
    assertQuiet(page);
  });

  test("the empty field asks for what comes next", async () => {
    await open(`/apps/${site}`);
    const field = page.getByRole("textbox", { name: "Message" });
    assert.equal(await field.getAttribute("placeholder"), `What should ${site} be?`);
    await page.getByText("Discuss", { exact: true }).click();
    assert.equal(await field.getAttribute("placeholder"), `Ask about ${site}`);
    await page.getByText("Build", { exact: true }).click();
    await field.fill("A page about kites");
    await field.press("Control+Enter");
    await page.locator(".user-message").waitFor();
    await eventually("it asks for changes", async () => (await field.getAttribute("placeholder")) === "What should change?");
    assertQuiet(page);
  });

  test("on a Mac the key is ⌘", async () => {
    page = await openPage(browser);
    await page.addInitScript(() => Object.defineProperty(navigator, "platform", { value: "MacIntel" }));
    await page.goto(`${builder.origin}/shortcuts`);
    assert.ok(await page.locator("kbd .on-mac").first().isVisible());
    assert.ok(!(await page.locator("kbd .not-mac").first().isVisible()));
  });

  test("exact times are those of the reader's zone", async () => {
    await open(`/apps/${site}/versions`, { timezoneId: "Asia/Tokyo", locale: "en-GB" });
    await eventually("it names the zone", async () => /GMT\+9|JST/.test(await page.locator("time").first().getAttribute("title")));
  });
});

describe("the first page", () => {
  test("the name follows the description until one is typed, and files go with it", async () => {
    await open("/");
    const description = page.getByRole("textbox", { name: "What do you want to build?" });
    const name = page.getByLabel("Name", { exact: true });
    await description.fill("A tide table for the harbour of Cuxhaven with a dark theme");
    await eventually("the name is of the description", async () => (await name.inputValue()) === "cuxhaven-tide");
    await name.fill("my-own-tides");
    await description.fill("A link shortener");
    await eventually("the kind was suggested again", async () => /link-shortener/.test(await page.locator("#suggested").getAttribute("data-name")));
    assert.equal(await name.inputValue(), "my-own-tides");

    await description.focus();
    await page.evaluate(() => {
      const data = new DataTransfer();
      data.items.add(new File(["Monday: rye"], "breads.txt", { type: "text/plain" }));
      document.querySelector("#description").dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true }));
    });
    await page.locator("#files").setInputFiles([{ name: "hours.md", mimeType: "text/markdown", buffer: Buffer.from("# 9 to 5") }]);
    await page.locator("#chosen-files").getByText("hours.md").waitFor();
    assert.equal(await page.locator("#chosen-files li").count(), 2, "the pasted file and the chosen one");
    await shoot(page, "home attached");
    await assertAccessible(page, "the first page with a file");
    await page.getByRole("button", { name: "Create" }).click();
    await page.waitForURL(/\/apps\/my-own-tides/);
    await page.locator("#turns").getByText("hours.md").waitFor();
    assertQuiet(page);
  });
});

describe("the menu of a card", () => {
  const menu = async (title, choice) => {
    await page.getByLabel(`More for ${title}`, { exact: true }).click();
    await page.getByRole("link", { name: choice }).click();
  };

  for (const [name, width, colorScheme] of [["harbour-wide", 1440, "light"], ["harbour-narrow", 390, "dark"]]) {
    test(`an app is renamed and duplicated at ${width} pixels`, async () => {
      const title = `Tides at ${width} pixels`;
      await builder.api("POST", "/apps", { name, template: "static-site", description: "Tides of a harbour", auto_preview: false });
      await open("/", { viewport: { width, height: 900 }, colorScheme });
      await page.getByLabel(`More for ${name}`, { exact: true }).click();
      await page.getByRole("link", { name: "Rename" }).waitFor();
      await shoot(page, `card menu ${width}`);
      await assertAccessible(page, "the menu of a card");
      await page.getByRole("link", { name: "Rename" }).click();
      await page.getByLabel("Title").fill(title);
      await shoot(page, `rename ${width}`);
      await assertAccessible(page, "rename");
      await page.getByRole("button", { name: "Rename" }).click();
      await page.getByRole("link", { name: title }).waitFor();

      await menu(title, "Duplicate");
      assert.equal(await page.getByLabel("Name of the new app").inputValue(), `${name}-2`);
      await shoot(page, `duplicate ${width}`);
      await assertAccessible(page, "duplicate");
      await page.getByRole("button", { name: "Duplicate" }).click();
      await page.waitForURL(new RegExp(`/apps/${name}-2$`));
      await page.getByRole("heading", { level: 1, name: `${title} (copy)` }).waitFor();
      await shoot(page, `duplicated ${width}`);
      assertQuiet(page);
    });
  }
});

describe("lists and files", () => {
  test("the search of apps is in the address, and the count follows", async () => {
    for (let n = 1; n <= 8; n++) await builder.api("POST", "/apps", { name: `kite-number-${n}`, template: "static-site", description: "One of many" });
    await open("/");
    await page.getByLabel("Search apps").fill("number-7");
    await eventually("the count follows", async () => /^1 of \d+$/.test(await page.locator("#app-count").textContent()));
    assert.match(page.url(), /search=number-7/);
    await page.reload();
    assert.equal(await page.locator(".app-card").count(), 1);
    assert.match(await page.locator("#app-count").textContent(), /^1 of \d+$/);
    await shoot(page, "home search");
    assertQuiet(page);
  });

  test("a filter that finds nothing says so, and a new file is offered first", async () => {
    for (let n = 0; n < 21; n++) await builder.api("PUT", `/apps/${site}/files/public/kites/${n}.txt`, `${n}\n`);
    await open(`/apps/${site}/code`);
    await page.getByLabel("Filter files").fill("no such file");
    await page.getByText("No file matches.").waitFor();
    const [form, list] = await page.evaluate(() => [".tree-tools details", "#tree-files > ul"].map((one) => document.querySelector(one).getBoundingClientRect().top));
    assert.ok(form < list, "above the files");
    await page.getByLabel("Filter files").fill("7.txt");
    await eventually("it is found", async () => (await page.locator("#tree-files a:visible").count()) >= 1);
    assert.ok(!(await page.getByText("No file matches.").isVisible()));
    assertQuiet(page);
  });

  test("at 1024 pixels a long name moves nothing into anything else", async () => {
    const long = "a-very-long-name-of-an-app-with-40-chars";
    await builder.api("POST", "/apps", { name: long, template: "static-site", description: "Long" });
    await open(`/apps/${long}/code/public/index.html`, { viewport: { width: 1024, height: 768 } });
    const boxes = await page.evaluate(() => ["#chips", "#next", ".top nav"].map((one) => document.querySelector(one).getBoundingClientRect()).map(({ left, right }) => [left, right]));
    for (let at = 1; at < boxes.length; at++) assert.ok(boxes[at - 1][1] <= boxes[at][0] + 0.5, JSON.stringify(boxes));
    assert.ok(boxes.at(-1)[1] <= 1024);
    const tops = await page.locator(".file-bar > *").evaluateAll((all) => all.map((one) => one.getBoundingClientRect()).filter((box) => box.height > 0).map((box) => box.top + box.height / 2));
    assert.ok(Math.max(...tops) - Math.min(...tops) < 4, `one line: ${tops}`);
    await shoot(page, "header at 1024");
  });

  test("a log says that there are earlier lines, and marks levels", { timeout: 2 * PATIENCE }, async () => {
    const lines = "import sys\nfor n in range(2500):\n    print(f'line {n}')\nprint('ERROR: the tide gauge is silent', flush=True)\n";
    await builder.api("PUT", `/apps/${api}/files/main.py`, `${lines}${program}`);
    await done(builder, `/apps/${api}/previews`);
    await open(`/apps/${api}/logs?source=preview`);
    const log = page.locator("#log-lines");
    await log.locator("div.error", { hasText: "the tide gauge is silent" }).waitFor();
    await log.getByText("Earlier lines are not shown.").waitFor();
    await page.getByLabel("Search the log").fill("line 24");
    await page.getByText(/\d+ of the lines shown/).waitFor();
    await page.getByLabel("Search the log").press("Enter");
    await page.getByText("111 of 111 lines").waitFor();
    await log.locator(".at mark").waitFor();
    await assertAccessible(page, "a log");
    await shoot(page, "log with levels");
    assertQuiet(page);
  });
});

test("without scripts a page at work offers to reload", { timeout: 2 * PATIENCE }, async () => {
  const slow = await startBuilder({ SLIPWAY_DEMO_PACE: "4" });
  try {
    await slow.api("POST", "/apps", { name: site, template: "static-site", description: "Kites" });
    await slow.api("POST", `/apps/${site}/turns`, { prompt: "A page about kites" });
    page = await openPage(browser, { javaScriptEnabled: false });
    await page.goto(`${slow.origin}/apps/${site}`);
    await page.getByText("This page does not change by itself without scripts.").waitFor();
    assert.equal(await page.locator("[data-working] .spin:visible").count(), 0, "no spinner without scripts");
    await shoot(page, "without scripts at work");
  } finally {
    await slow.stop();
  }
});

/** A server with the Messages API that accepts one key. */
async function provider(key) {
  const said = (type, data) => `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
  const server = createServer((request, answer) => {
    request.resume();
    if (request.headers["x-api-key"] !== key) {
      answer.writeHead(401, { "content-type": "application/json" });
      return answer.end(JSON.stringify({ type: "error", error: { type: "authentication_error", message: "invalid x-api-key" } }));
    }
    if (request.method === "GET") return answer.writeHead(404).end();
    answer.writeHead(200, { "content-type": "text/event-stream" });
    const usage = { input_tokens: 9, output_tokens: 2 };
    answer.end([
      said("message_start", { message: { id: "m", type: "message", role: "assistant", content: [], model: "m", usage } }),
      said("content_block_start", { index: 0, content_block: { type: "text", text: "" } }),
      said("content_block_delta", { index: 0, delta: { type: "text_delta", text: "Built by the model.\n\n- [x] done\n\nSee https://example.org/kites.\n\n```json\n{\"kite\": 1, \"about\": \"" + "long ".repeat(60) + "\"}\n```\n" } }),
      said("content_block_stop", { index: 0 }),
      said("message_delta", { delta: { stop_reason: "end_turn" }, usage }),
      said("message_stop", {}),
    ].join(""));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { address: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

for (const SLIPWAY_ADMIN_PASSWORD of [undefined, password]) {
  test(`a key is added in the page, ${SLIPWAY_ADMIN_PASSWORD ? "logged in" : "on loopback"}`, { timeout: 2 * PATIENCE }, async () => {
    const own = await startBuilder(SLIPWAY_ADMIN_PASSWORD ? { SLIPWAY_ADMIN_PASSWORD } : {});
    const model = await provider("sk-test-1234567890");
    try {
      page = await openPage(browser, { colorScheme: "dark" });
      if (SLIPWAY_ADMIN_PASSWORD) await logIn(page, own.origin);
      else await page.goto(own.origin);
      await page.getByRole("textbox", { name: "What do you want to build?" }).fill("A page about paper kites");
      await page.getByRole("button", { name: "Create" }).click();
      await page.waitForURL(/\/apps\//);
      await page.locator(".version-card").waitFor({ timeout: PATIENCE });
      // The grammars are loaded once, which takes long in a build for tests.
      await page.getByRole("link", { name: "Code", exact: true }).click();
      await page.locator(".source span").first().waitFor();
      await page.getByRole("link", { name: "Add a key" }).click();
      const section = page.getByRole("region", { name: "Model and key" });
      await section.getByText("Address and model").click();
      await section.getByLabel("Address", { exact: true }).fill(model.address);
      await section.getByLabel("API key").fill("sk-wrong-000");
      await section.getByRole("button", { name: "Test and save" }).click();
      await section.getByText("does not accept the API key").waitFor();
      await assertAccessible(page, "a key that was refused");
      await shoot(page, "key refused");
      page.problems = page.problems.filter((problem) => !/status of 422/.test(problem));
      await section.getByLabel("API key").fill("sk-test-1234567890");
      await section.getByRole("button", { name: "Test and save" }).click();
      await section.getByText("answered the test").waitFor();
      assert.ok(!(await page.content()).includes("sk-test-1234567890"));
      await assertAccessible(page, "a key that was added");
      await shoot(page, "key added");
      await section.getByRole("button", { name: /^Build it again with/ }).click();
      await page.waitForURL(/\/apps\//);
      await page.getByText("Built by the model.").waitFor({ timeout: PATIENCE });
      // What the model wrote: a task, a link, and code that can be reached and copied.
      await page.getByText("☑ done").waitFor();
      await page.locator(".prose a", { hasText: "https://example.org/kites" }).waitFor();
      const block = page.locator(".code-block").first();
      assert.ok((await block.locator("span").count()) > 0, "it has colours");
      await block.hover();
      await block.getByRole("button", { name: "Copy the code" }).click();
      await page.getByText("Copied").waitFor();
      await assertAccessible(page, "an answer with code");
      await shoot(page, "answer with code");
      await page.goto(`${own.origin}/health`);
      await page.getByText("answered a turn.").waitFor();
      await shoot(page, "health with a key");
      assert.ok(!own.log().includes("sk-test-1234567890"), "not in the log");
      await page.setViewportSize({ width: 390, height: 844 });
      await page.goto(`${own.origin}/settings`);
      await shoot(page, "key narrow");
      page.once("dialog", (dialog) => dialog.accept());
      await page.getByRole("button", { name: "Remove the key" }).click();
      await page.getByText("Demo mode: a script answers, not an AI.").waitFor();
      assertQuiet(page);
    } finally {
      model.close();
      await own.stop();
    }
  });
}
