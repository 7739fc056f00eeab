// Progress is shown live to all readers, also after a reload. Without scripts the same buttons work.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { assertQuiet, eventually, openPage, PATIENCE, shoot, startBrowser, startBuilder, publishStep } from "./support.mjs";

let builder;
let browser;
before(async () => {
  [builder, browser] = await Promise.all([startBuilder({ SLIPWAY_DEMO_PACE: "1.2" }), startBrowser()]);
});
after(async () => {
  await browser?.close();
  await builder?.stop();
});

const open = [];
afterEach(() => Promise.all(open.splice(0).map((page) => page.context().close())));

async function newPage(options) {
  const page = await openPage(browser, options);
  open.push(page);
  return page;
}

/** The text of the conversation, without running timers. */
async function conversation(page) {
  const blocks = page.locator("#turns > li").last().locator(".blocks");
  return (await blocks.textContent()).replace(/\s+/g, " ").trim();
}

test("a reload in mid-turn goes on where it was, and a second page sees the same", { timeout: 180_000 }, async () => {
  await builder.api("POST", "/apps", { name: "two-windows", template: "static-site", description: "Watched" });
  const first = await newPage();
  await first.goto(`${builder.origin}/apps/two-windows`);
  await first.getByRole("textbox", { name: "Message", exact: true }).fill("Windows on the harbour");
  await first.getByRole("button", { name: "Send" }).click();
  await first.locator('[data-path="public/index.html"] pre').first().waitFor({ state: "attached" });

  const second = await newPage();
  await second.goto(`${builder.origin}/apps/two-windows`);
  await first.reload();
  // Still during the turn: the received text is there at once, and continues to grow.
  const code = first.locator('[data-path="public/style.css"] pre').first();
  await code.waitFor({ state: "attached" });
  await first.getByRole("button", { name: "Stop" }).waitFor();
  await first.reload();
  assert.equal(await first.locator(".user-message", { hasText: "Windows on the harbour" }).count(), 1, "nothing is doubled");
  await shoot(first, "live reloaded");
  for (const page of [first, second]) {
    await page.getByRole("button", { name: "Send" }).waitFor({ timeout: PATIENCE });
    await page.locator("#turns > li").last().locator(".version-card").waitFor();
  }
  const [one, two] = [await conversation(first), await conversation(second)];
  assert.equal(one, two, "both saw the same");
  const late = await newPage();
  await late.goto(`${builder.origin}/apps/two-windows`);
  assert.equal(await late.locator("#turns > li").count(), 1);
  const words = "with “Windows on the harbour” as its title";
  for (const page of [first, second, late]) {
    const said = await page.locator("#turns").textContent();
    assert.equal(said.split(words).length, 2, "said once, shown once");
  }

  // The steps of a turn are loaded when they are asked for.
  await late.locator("#turns .version-card .menu > summary").first().click();
  await late.locator("#turns .version-card").first().getByRole("link", { name: "Steps" }).click();
  await late.locator(".steps .step", { hasText: "public/style.css" }).first().waitFor();

  // All readers see the preview that follows, with its steps and its result.
  for (const page of [first, second, late]) {
    await page.locator("#strip .strip").waitFor({ timeout: PATIENCE });
    await page.getByRole("banner").locator(".chip", { hasText: /Preview\s+ready/ }).waitFor({ timeout: PATIENCE });
    await publishStep(page).waitFor();
  }
  [first, second, late].forEach(assertQuiet);
});

test("Stop keeps what was written", { timeout: 120_000 }, async () => {
  await builder.api("POST", "/apps", { name: "cut-short", template: "static-site", description: "Stopped" });
  const page = await newPage();
  await page.goto(`${builder.origin}/apps/cut-short`);
  await page.getByRole("textbox", { name: "Message", exact: true }).fill("Half a harbour");
  await page.getByRole("button", { name: "Send" }).click();
  await page.locator('[data-path="public/style.css"]').first().waitFor({ state: "attached" });
  await page.getByRole("button", { name: "Stop" }).click();
  await page.getByRole("button", { name: "Send" }).waitFor();
  await shoot(page, "live stopped");
  const index = await builder.api("GET", "/apps/cut-short/files/public/index.html");
  assert.match(index, /Half a harbour/);
  assertQuiet(page);
});

test("without scripts: create, ask, deploy, publish, roll back, delete", { timeout: 180_000 }, async () => {
  const page = await newPage({ javaScriptEnabled: false });
  /** Presses a button and waits for the page that answers. */
  const press = (button) => Promise.all([page.waitForEvent("load"), button.click()]);
  const name = "plain-paper";
  await page.goto(builder.origin);
  await page.getByRole("textbox", { name: "What do you want to build?" }).fill("A page on plain paper");
  await page.getByRole("radio", { name: "Static site" }).check({ force: true });
  await page.getByRole("textbox", { name: "Name", exact: true }).fill(name);
  await press(page.getByRole("button", { name: "Create" }));
  await page.waitForURL(`${builder.origin}/apps/${name}`);
  const settled = (what) => eventually(what, async () => {
    await page.reload();
    return (await page.getByRole("button", { name: "Send" }).count()) > 0
      && (await page.locator("#next [role=status]").count()) === 0;
  });
  await settled("the turn ends");
  await page.locator(".user-message", { hasText: "A page on plain paper" }).waitFor();
  await shoot(page, "plain 1 written");

  const bar = page.getByRole("banner");
  const publish = async (words) => {
    await bar.locator(".chip", { hasText: /Preview\s+ready/ }).waitFor();
    const asks = bar.locator(".confirm > summary");
    if ((await asks.count()) > 0) await asks.first().click();
    await press(bar.getByRole("button", { name: /^Publish/ }).first());
    await settled("it is published");
    await bar.locator(".chip", { hasText: /Production\s+ready/ }).waitFor();
    assert.match(await visit(name), words);
  };
  await publish(/A page on plain paper/);

  // The next preview starts only on request.
  await page.goto(`${builder.origin}/apps/${name}/settings`);
  await page.getByRole("switch", { name: "Build and deploy the preview after each turn" }).uncheck();
  await press(page.getByRole("button", { name: "Save" }));
  assert.equal(await page.getByRole("switch").isChecked(), false);
  await page.goto(`${builder.origin}/apps/${name}`);
  await page.getByRole("textbox", { name: "Message", exact: true }).fill("Add a list of pencil and second sheet");
  await press(page.getByRole("button", { name: "Send" }));
  await settled("the second turn ends");
  await press(bar.getByRole("button", { name: "Deploy preview" }).first());
  await settled("the preview is there");
  await publish(/Second sheet/);

  await page.goto(`${builder.origin}/apps/${name}/releases`);
  await press(page.getByRole("button", { name: /Roll back to this.*Production, release 1/ }));
  await settled("it is rolled back");
  assert.doesNotMatch(await visit(name), /Second sheet/);
  await page.goto(`${builder.origin}/apps/${name}/releases`);
  await shoot(page, "plain 2 rolled back");

  await page.goto(`${builder.origin}/apps/${name}/settings`);
  await page.getByLabel(`Type ${name} to confirm`).fill(name);
  await press(page.getByRole("button", { name: `Delete ${name}` }));
  await page.waitForURL(`${builder.origin}/`);
  await eventually("it is gone", async () => {
    const list = await builder.api("GET", "/apps");
    return list.apps.every((app) => app.name !== name);
  });
  assertQuiet(page);
});

test("a browser's errors are counted and handed to the model", { timeout: 120_000 }, async () => {
  const name = "torn-sail";
  await builder.api("POST", "/apps", { name, template: "static-site", description: "Torn", auto_preview: false });
  await builder.api("PUT", `/apps/${name}/files/public/script.js`, '"use strict";\nhoist(1);\n');
  const page = await newPage();
  await page.goto(`${builder.origin}/apps/${name}?view=draft`);
  const errors = page.locator("#browser-errors");
  await errors.getByText("1 browser error").waitFor();
  await errors.locator("summary").click();
  await errors.getByText("/script.js:2: Uncaught ReferenceError: hoist is not defined (on /)").waitFor();
  await shoot(page, "live browser error");
  await page.setViewportSize({ width: 390, height: 800 });
  await page.emulateMedia({ colorScheme: "dark" });
  await shoot(page, "live browser error narrow dark");
  await page.setViewportSize({ width: 1280, height: 800 });
  await errors.getByRole("button", { name: "Fix" }).click();
  await page.locator(".turn .words", { hasText: "hoist is not defined" }).waitFor({ state: "attached" });
  await page.getByRole("button", { name: "Send" }).waitFor({ timeout: PATIENCE });
  assertQuiet(page);
});

/** What a visitor of the app sees. */
async function visit(name) {
  const visitor = await newPage();
  await visitor.goto(builder.host(name));
  return visitor.locator("body").innerText();
}
