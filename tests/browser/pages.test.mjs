// Every page: accessible in light and dark, usable in a narrow window and by keyboard, small in transfer size,
// without messages on the console.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import {
  assertAccessible, assertQuiet, done, eventually, openPage, PATIENCE, shoot, startBrowser, startBuilder, weigh, publishStep } from "./support.mjs";

let builder;
let browser;
const site = "quay-lamp";
const jobs = "night-watch";
const hook = "signal-flag";
const api = "knot-count";

before(async () => {
  [builder, browser] = await Promise.all([startBuilder(), startBrowser()]);
  const create = (name, template, description) => builder.api("POST", "/apps", { name, template, description });
  await create(site, "static-site", "A site with everything that pages can show");
  await done(builder, `/apps/${site}/turns`, { prompt: "Lamps along the quay" });
  await done(builder, `/apps/${site}/previews`);
  await done(builder, `/apps/${site}/publish`);
  await builder.api("PUT", `/apps/${site}/files/public/more/deep/page.html`, "<p>Deep & <b>bold</b></p>\n");
  await done(builder, `/apps/${site}/previews`);
  await done(builder, `/apps/${site}/publish`);
  await create(jobs, "scheduled-job", "Prints at night");
  await done(builder, `/apps/${jobs}/previews`);
  await create(hook, "webhook", "Takes signed calls");
  await done(builder, `/apps/${hook}/previews`);
  await create(api, "simple-api", "Counts knots");
  await done(builder, `/apps/${api}/previews`);
  // A failure, with its card.
  await builder.api("PUT", `/apps/${api}/files/requirements.txt`, "no-such-package-of-ours==99.99\n");
  const failed = await builder.api("POST", `/apps/${api}/previews`, {});
  await eventually("the build fails", async () => (await builder.api("GET", `/jobs/${failed.id}`)).state === "failed");
});
after(async () => {
  await browser?.close();
  await builder?.stop();
});

/** Every kind of page, by a name for screenshots. */
async function everyPage() {
  const { versions } = await builder.api("GET", `/apps/${site}/versions`);
  return {
    "front page": "/",
    health: "/health",
    settings: "/settings",
    shortcuts: "/shortcuts",
    docs: "/docs",
    "app draft": `/apps/${site}`,
    "app preview": `/apps/${site}?view=preview`,
    "app production": `/apps/${site}?view=prod`,
    code: `/apps/${site}/code`,
    "code file": `/apps/${site}/code/public/index.html`,
    "code editor": `/apps/${site}/code/public/index.html?edit=1`,
    versions: `/apps/${site}/versions`,
    version: `/apps/${site}/versions/${versions[0].id}`,
    releases: `/apps/${site}/releases`,
    "logs build": `/apps/${site}/logs?source=build`,
    "logs preview": `/apps/${site}/logs?source=preview`,
    "app settings": `/apps/${site}/settings`,
    "job runs": `/apps/${jobs}?view=preview`,
    webhook: `/apps/${hook}?view=preview`,
    "api with a failure": `/apps/${api}?view=preview`,
    "not found": "/no/such/page",
    "no such app": "/apps/nobody-here",
  };
}

const MISSING = new Set(["not found", "no such app"]);

/** Chromium notes a page that is answered 404 on its console; that is what was asked for. */
function forgiveMissing(page) {
  page.problems = page.problems.filter((problem) => !/status of 404/.test(problem));
}

let page;
afterEach(() => page?.context().close());

for (const colorScheme of ["light", "dark"]) {
  test(`every page is accessible and quiet, ${colorScheme}`, { timeout: 180_000 }, async () => {
    page = await openPage(browser, { colorScheme });
    const failures = [];
    for (const [name, path] of Object.entries(await everyPage())) {
      const answer = await page.goto(builder.origin + path);
      assert.equal(answer.status(), MISSING.has(name) ? 404 : 200, `${name}: ${path}`);
      await page.getByRole("main").first().waitFor();
      await shoot(page, `${colorScheme} ${name}`);
      // All of them are checked before the test fails.
      try {
        await assertAccessible(page, `${name} (${colorScheme})`);
        if (MISSING.has(name)) forgiveMissing(page);
        assertQuiet(page);
      } catch (error) {
        failures.push(`${name}: ${error.message}`);
        page.problems = [];
      }
    }
    assert.deepEqual(failures, []);
  });
}

test("narrow: no page scrolls sideways, and the composer is at hand", { timeout: 120_000 }, async () => {
  page = await openPage(browser, { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true });
  const failures = [];
  for (const [name, path] of Object.entries(await everyPage())) {
    await page.goto(builder.origin + path);
    await page.getByRole("main").first().waitFor();
    await shoot(page, `narrow ${name}`);
    const [wide, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
    if (wide > window + 1) failures.push(`${name} is ${wide} pixels wide in ${window}`);
  }
  assert.deepEqual(failures, []);
  await page.goto(`${builder.origin}/apps/${site}`);
  const panes = page.getByRole("radiogroup", { name: "Visible pane" });
  const composer = page.getByRole("textbox", { name: "Message", exact: true });
  await panes.getByText("App").click();
  await page.locator("#stage").waitFor();
  assert.ok(await page.locator("#stage iframe:not(.next)").isVisible());
  await panes.getByText("Conversation").click();
  assert.ok(await page.locator(".user-message").first().isVisible());
  assert.ok(!(await page.locator("#stage iframe:not(.next)").isVisible()), "one of them at a time");
  assert.ok(await composer.isVisible());
  await page.goto(`${builder.origin}/apps/${site}`);
  forgiveMissing(page);
  assertQuiet(page);
});

test("each page weighs at most 100 kB on the wire, and loads nothing from elsewhere", { timeout: 120_000 }, async () => {
  const heavy = [];
  for (const [name, path] of Object.entries(await everyPage())) {
    page = await openPage(browser);
    const { bytes, foreign } = await weigh(page, builder.origin + path);
    assert.deepEqual(foreign, [], `${name} loads from elsewhere`);
    assert.ok(bytes > 500, `${name} was weighed: ${bytes}`);
    // The editor of files is a script of its own, of about 210 kB.
    if (bytes > (name === "code editor" ? 320_000 : 100_000)) heavy.push(`${name}: ${bytes} bytes`);
    await page.context().close();
  }
  assert.deepEqual(heavy, []);
});

describe("by keyboard", () => {
  /** Presses Tab until the focus is where it should be; fails after too many. */
  async function tabTo(what, locator, most = 60) {
    for (let presses = 0; presses < most; presses += 1) {
      await page.keyboard.press("Tab");
      const there = await locator.evaluateAll((found) => found.some((element) => element === document.activeElement));
      if (there) return;
    }
    assert.fail(`${what} cannot be reached with ${most} presses of Tab`);
  }

  /** The focus can be seen: an outline or a shadow that was not there before. */
  async function focusIsVisible() {
    const style = await page.evaluate(() => {
      const seen = document.activeElement.matches("input[type=radio]") ? document.activeElement.parentElement : document.activeElement;
      const own = getComputedStyle(seen);
      return { outline: own.outlineStyle !== "none" && parseFloat(own.outlineWidth) > 0, shadow: own.boxShadow !== "none" };
    });
    assert.ok(style.outline || style.shadow, "the focus is visible");
  }

  test("an app is created, asked and deployed without a mouse", { timeout: 120_000 }, async () => {
    page = await openPage(browser);
    await page.goto(builder.origin);
    await page.keyboard.press("Tab");
    await page.getByRole("link", { name: "Skip to the content" }).waitFor();
    await page.keyboard.press("/");
    const words = page.getByRole("textbox", { name: "What do you want to build?" });
    await words.focus();
    await page.keyboard.type("A page about bollards");
    const name = page.getByRole("textbox", { name: "Name", exact: true });
    await tabTo("the name", name);
    await page.keyboard.press("Control+a");
    await page.keyboard.type("iron-bollard");
    await tabTo("Create", page.getByRole("button", { name: "Create" }));
    await focusIsVisible();
    await page.keyboard.press("Enter");
    await page.waitForURL(`${builder.origin}/apps/iron-bollard`);
    await page.getByRole("button", { name: "Send" }).waitFor({ timeout: PATIENCE });

    // It is the first time, so it asks: the answer has the focus.
    const publish = publishStep(page);
    await publish.waitFor({ timeout: PATIENCE });
    await tabTo("Publish", publish);
    await focusIsVisible();
    await page.keyboard.press("Enter");
    const confirm = page.locator("#next > .confirm form button");
    await eventually("the answer has the focus", () => confirm.evaluate((button) => button === document.activeElement));
    await page.keyboard.press("Enter");
    await page.getByRole("banner").locator(".chip", { hasText: /Production\s+ready/ }).waitFor({ timeout: PATIENCE });

    // Single keys: tabs, the message field, Escape.
    await page.locator("#talk").focus();
    await page.keyboard.press("4");
    await page.locator("#releases").waitFor();
    assert.match(page.url(), /\/releases$/);
    await page.keyboard.press("2");
    await page.locator("#code").waitFor();
    await page.keyboard.press("/");
    const composer = page.getByRole("textbox", { name: "Message", exact: true });
    await eventually("the message field has the focus", () => composer.evaluate((field) => field === document.activeElement));
    await page.keyboard.type("More bollards");
    await page.keyboard.press("Control+Enter");
    await page.locator(".user-message", { hasText: "More bollards" }).waitFor();
    await page.getByRole("button", { name: "Send" }).waitFor({ timeout: PATIENCE });

    const menu = page.getByRole("banner").locator("details.menu").first();
    await menu.locator("summary").focus();
    await page.keyboard.press("Enter");
    assert.ok(await menu.evaluate((element) => element.open));
    await page.keyboard.press("Escape");
    assert.ok(!(await menu.evaluate((element) => element.open)), "Escape closes");
    await page.locator("#talk").focus();
    await page.keyboard.press("?");
    await page.waitForURL(/\/shortcuts$/);
    assertQuiet(page);
  });
});
