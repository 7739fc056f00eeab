// Demo mode as a newcomer meets it: the pictures on the first page, a recorded conversation, the note that can be dismissed.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { assertAccessible, assertQuiet, done, eventually, openPage, PATIENCE, shoot, startBrowser, startBuilder, weigh } from "./support.mjs";

let builder;
let browser;
before(async () => {
  [builder, browser] = await Promise.all([startBuilder(), startBrowser()]);
});
after(async () => {
  await browser?.close();
  await builder?.stop();
});

let page;
afterEach(() => page?.context().close());

test("six pictures come in one request, after what is seen first", { timeout: 60_000 }, async () => {
  page = await openPage(browser, { viewport: { width: 1440, height: 900 } });
  const pictures = [];
  page.on("request", (request) => /made-with\.webp/.test(request.url()) && pictures.push(request.url()));
  const { bytes } = await weigh(page, builder.origin);
  assert.ok(bytes < 75_000, `the first page weighs ${bytes} bytes`);
  await page.getByRole("heading", { name: "Made with Slipway" }).scrollIntoViewIfNeeded();
  const images = page.locator(".made img");
  assert.equal(await images.count(), 6);
  await eventually("the pictures are there", () => images.evaluateAll((all) => all.every((image) => image.complete && image.naturalWidth > 0)));
  assert.equal(pictures.length, 1, "one file holds all of them");
  for (const image of await images.all()) {
    assert.equal(await image.getAttribute("loading"), "lazy");
    assert.ok((await image.getAttribute("alt")).length > 20);
  }
  await shoot(page, "demo 1 first page");
  assertQuiet(page);
});

test("a recorded conversation is read, tried in its frame, and built", { timeout: 120_000 }, async () => {
  for (const colorScheme of ["light", "dark"]) {
    page = await openPage(browser, { colorScheme });
    for (const name of ["bakery", "shortener", "quarter"]) {
      await page.goto(`${builder.origin}/made-with/${name}`);
      await assertAccessible(page, `made-with ${name} (${colorScheme})`);
      await shoot(page, `demo 2 made with ${name} ${colorScheme}`);
    }
    assertQuiet(page);
    await page.context().close();
  }
  page = await openPage(browser, { viewport: { width: 390, height: 844 } });
  await page.goto(`${builder.origin}/made-with/dashboard`);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 391, `it is ${wide} pixels wide`);
  await shoot(page, "demo 2 made with dashboard narrow");
  await page.context().close();

  page = await openPage(browser);
  await page.goto(builder.origin);
  await page.getByRole("link", { name: /Number puzzle game/ }).click();
  await page.getByRole("heading", { level: 1, name: "Number puzzle game" }).waitFor();
  // The page in the frame runs, without an origin of its own.
  const board = page.frameLocator(".recorded-stage iframe").locator("#board");
  await board.locator(".tile").first().waitFor();
  await page.locator(".recorded-talk .step summary", { hasText: "public/script.js" }).first().click();
  await page.locator(".recorded-talk pre", { hasText: "const GOAL = 2048" }).waitFor();
  await page.getByRole("button", { name: "Build this" }).click();
  await page.waitForURL(/\/apps\//);
  const app = page.url().split("/apps/")[1];
  await page.getByText("is played with the arrow keys").waitFor({ timeout: PATIENCE });
  await eventually("the preview follows", async () =>
    (await builder.api("GET", `/apps/${app}`)).environments.preview.state === "ready");
  assertQuiet(page);
});

test("the note of demo mode is dismissed once, and no tokens are shown", { timeout: 60_000 }, async () => {
  await builder.api("POST", "/apps", { name: "sea-note", template: "static-site", description: "Sea", auto_preview: false });
  await done(builder, "/apps/sea-note/turns", { prompt: "A page about the sea" });
  page = await openPage(browser);
  await page.goto(builder.origin);
  assert.equal(await page.locator("body").getByText("a script is answering").count(), 0, "no bar on other pages");
  await page.goto(`${builder.origin}/apps/sea-note`);
  const note = page.getByRole("complementary", { name: "Demo mode" });
  await note.getByText("Demo mode: a script is answering, not an AI.").waitFor();
  assert.equal(await page.locator("#turns").getByText(/token|\$0/).count(), 0);
  await shoot(page, "demo 3 note");
  await note.getByRole("button", { name: "Dismiss" }).click();
  await note.waitFor({ state: "detached" });
  await page.reload();
  assert.equal(await note.count(), 0, "it stays dismissed");
  for (const path of ["/settings", "/apps/sea-note/settings"]) {
    await page.goto(builder.origin + path);
    assert.equal(await page.getByText(/\$0\.00/).count(), 0, `${path} shows no money`);
  }
  assertQuiet(page);
});
