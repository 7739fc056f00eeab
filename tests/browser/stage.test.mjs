// The stage: the page in the frame, the width of the parts, and what changes by itself. Nothing moves that its reader did not move.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, afterEach, before, describe, test } from "node:test";
import { expose } from "./network.mjs";
import { PATIENCE, assertAccessible, assertQuiet, chip, done, eventually, openAt, openPage, shoot, startBrowser, startBuilder } from "./support.mjs";

let builder;
let browser;
const site = "long-pier";
const about = (words) => `<!doctype html><title>About ${words}</title><h1>${words}</h1>${"<p>A plank.</p>".repeat(200)}<a href="/more.html">More</a>\n`;

before(async () => {
  [builder, browser] = await Promise.all([startBuilder({ SLIPWAY_DEMO_PACE: "1" }), startBrowser()]);
  await builder.api("POST", "/apps", { name: site, template: "static-site", description: "A pier of three pages", auto_preview: false });
  await builder.api("PUT", `/apps/${site}/files/public/more.html`, "<!doctype html><title>More</title><p>More planks</p>\n");
  await write("One");
  await done(builder, `/apps/${site}/previews`);
});
after(async () => {
  await browser?.close();
  await builder?.stop();
});

const pages = [];
afterEach(() => Promise.all(pages.splice(0).map((page) => page.context().close())));
async function open(path, options) {
  const page = await openAt(browser, builder.origin + path, options);
  pages.push(page);
  return page;
}

const write = (words) => builder.api("PUT", `/apps/${site}/files/public/about.html`, about(words));
const content = (page) => page.frameLocator(".frame iframe:not(.next)");
const path = (page) => page.locator("[data-page-path]");
const shows = (page, wanted) => eventually(`the address is ${wanted}`, async () => (await path(page).inputValue()) === wanted, 15_000);
/** How far the page in the frame is scrolled. */
const scrolled = (page) => content(page).locator("html").evaluate(() => scrollY);

describe("the page in the frame", () => {
  test("page, scroll and width stay over a new version, a reload and a switch", { timeout: 2 * PATIENCE }, async () => {
    const page = await open(`/apps/${site}?view=preview`);
    await path(page).fill("/about.html");
    await path(page).press("Enter");
    await content(page).getByRole("heading", { name: "One" }).waitFor();
    await page.locator("label[title=Phone]").click();
    await content(page).locator("html").evaluate(() => scrollTo(0, 900));
    await page.waitForFunction((key) => sessionStorage.getItem(key) === "0,900", `slipway:${site}:scroll`);

    await write("Two");
    await done(builder, `/apps/${site}/previews`);
    await content(page).getByRole("heading", { name: "Two" }).waitFor();
    assert.equal(await path(page).inputValue(), "/about.html");
    assert.equal(await scrolled(page), 900, "a new version");
    await page.locator("[data-reload]").click();
    await eventually("it is loaded again", async () => (await page.locator(".frame iframe").count()) === 1 && (await scrolled(page)) === 900);
    await page.reload();
    await content(page).getByRole("heading", { name: "Two" }).waitFor();
    await eventually("the scroll is back", async () => (await scrolled(page)) === 900);
    assert.equal(await page.locator(".frame iframe").getAttribute("title"), `About Two (Preview of ${site})`);

    await page.getByRole("link", { name: "Draft", exact: true }).click();
    await page.locator('.frame[data-frame="draft"]').waitFor();
    await content(page).getByRole("heading", { name: "Two" }).waitFor();
    await eventually("the draft is as far", async () => (await scrolled(page)) === 900);
    assert.equal(await path(page).inputValue(), "/about.html");
    assert.ok(await page.locator("#w-phone").isChecked());
    await shoot(page, "stage another page");
    assertQuiet(page);
  });

  test("links in the page, Back and Forward, and the list of pages", async () => {
    const page = await open(`/apps/${site}?view=draft&path=/about.html`);
    await content(page).getByRole("link", { name: "More" }).click();
    await shows(page, "/more.html");
    await page.getByRole("button", { name: "Back", exact: true }).click();
    await shows(page, "/about.html");
    await content(page).getByRole("link", { name: "More" }).waitFor();
    await page.getByRole("button", { name: "Forward" }).click();
    await content(page).getByText("More planks").waitFor();
    assert.ok(await page.getByRole("button", { name: "Forward" }).isDisabled());
    assert.match(await page.getByRole("link", { name: "Open in a new tab" }).getAttribute("href"), /-draft\.localhost:\d+\/more\.html$/);
    await path(page).focus();
    await eventually("the pages are listed", async () =>
      (await page.locator("#app-pages option").evaluateAll((all) => all.map((one) => one.value))).join() === "/,/about.html,/more.html");
    await assertAccessible(page, "the stage");
    assertQuiet(page);
  });

  test("only the page in the frame can say where it is, and only a page of Slipway hears it", async () => {
    const page = await open(`/apps/${site}?view=draft`);
    await shows(page, "/");
    // This page itself, and the frame with something that is no path.
    await page.evaluate(() => postMessage({ slipway: "at", how: "load", path: "/from-elsewhere" }, location.origin));
    const frame = page.frames().find((one) => one.url().includes("-draft."));
    for (const bad of ["//evil.test/", "https://evil.test/", `/${"x".repeat(3000)}`, 7, "/\\evil.test"]) {
      await frame.evaluate((path) => parent.postMessage({ slipway: "at", how: "push", path, title: "<b>x</b>", scroll: "x" }, "*"), bad);
    }
    await frame.evaluate(() => history.pushState(null, "", "/after?all=1"));
    await shows(page, "/after?all=1");

    // A page of another origin embeds the draft: it hears nothing, whatever it says.
    const other = createServer((_, answer) => answer.setHeader("content-type", "text/html").end(`<!doctype html><script>
      window.heard = [];
      addEventListener("message", ({ data }) => heard.push(data));
      </script><iframe src="${builder.host(`${site}-draft`)}/about.html" onload="this.contentWindow.postMessage({ slipway: 'hello' }, '*'); this.contentWindow.postMessage('last', '*')"></iframe>`));
    await new Promise((resolve) => other.listen(0, "127.0.0.1", resolve));
    await expose(other.address().port);
    try {
      const stranger = await openPage(browser);
      pages.push(stranger);
      await stranger.goto(`http://127.0.0.1:${other.address().port}/`);
      const inside = await eventually("the frame is there", () => stranger.frames().find((one) => one.url().includes("-draft.")));
      await inside.evaluate(() => {
        addEventListener("message", ({ data }) => data === "end" && parent.postMessage("end", "*"));
        scrollTo(0, 500);
        history.pushState(null, "", "/secret");
      });
      await stranger.evaluate(() => document.querySelector("iframe").contentWindow.postMessage({ slipway: "scroll", to: [0, 7] }, "*"));
      await stranger.evaluate(() => document.querySelector("iframe").contentWindow.postMessage("end", "*"));
      await eventually("the last message came", () => stranger.evaluate(() => heard.includes("end")));
      assert.deepEqual(await stranger.evaluate(() => heard), ["end"]);
      assert.equal(await inside.evaluate(() => scrollY), 500, "it takes no orders either");
    } finally {
      other.close();
    }

    // A page that introduces itself, as where browsers do not name the page around a frame.
    await page.evaluate(() => {
      window.heard = [];
      addEventListener("message", ({ data }) => window.heard.push(data.how));
      const frame = document.querySelector(".frame iframe");
      frame.contentWindow.postMessage({ slipway: "hello" }, new URL(document.querySelector(".frame").dataset.url).origin);
    });
    await eventually("the frame answers", () => page.evaluate(() => window.heard.includes("load")));
    assertQuiet(page);
  });

  test("production says nothing: the address is what was typed", { timeout: 2 * PATIENCE }, async () => {
    await done(builder, `/apps/${site}/publish`);
    const page = await open(`/apps/${site}?view=prod&path=/about.html`);
    await content(page).getByRole("heading", { name: /One|Two/ }).waitFor();
    assert.equal(await path(page).inputValue(), "/about.html");
    await content(page).getByRole("link", { name: "More" }).click();
    await content(page).getByText("More planks").waitFor();
    await shows(page, "");
    assert.equal(await path(page).getAttribute("placeholder"), "The page is not reported here");
    await path(page).fill("more.html");
    await path(page).press("Enter");
    await shows(page, "/more.html");
    await content(page).getByText("More planks").waitFor();
    assertQuiet(page);
  });

  test("without scripts the address field opens pages, too", async () => {
    const page = await openPage(browser, { javaScriptEnabled: false });
    pages.push(page);
    await page.goto(`${builder.origin}/apps/${site}?view=preview`);
    await path(page).fill("/about.html");
    await path(page).press("Enter");
    await page.waitForURL(/path=/);
    await page.frameLocator(".frame iframe").getByRole("heading", { name: /One|Two/ }).waitFor();
    assert.equal(await path(page).inputValue(), "/about.html");
    assertQuiet(page);
  });
});

describe("the line between conversation and stage", () => {
  test("is moved with keys and with the pointer, and kept", async () => {
    const page = await open(`/apps/${site}?view=preview`, { viewport: { width: 1440, height: 900 } });
    const line = page.getByRole("separator", { name: "Width of the conversation" });
    const share = () => page.evaluate(() => document.querySelector("#talk").getBoundingClientRect().width / innerWidth);
    await line.focus();
    const value = (wanted) => eventually(`the value is ${wanted}`, async () => Number(await line.getAttribute("aria-valuenow")) === wanted, 10_000);
    await value(40);
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowRight");
    await value(44);
    await page.keyboard.press("End");
    await value(60);
    assert.ok(Math.abs((await share()) - 0.6) < 0.01);
    await page.keyboard.press("Home");
    await page.keyboard.press("ArrowLeft");
    await value(30);
    await assertAccessible(page, "the moved line");

    const box = await line.boundingBox();
    await page.mouse.move(box.x + box.width / 2, 400);
    await page.mouse.down();
    // Over the frame, which must not take the pointer.
    await page.mouse.move(900, 420, { steps: 4 });
    await page.mouse.move(720, 420, { steps: 2 });
    await page.mouse.up();
    await value(50);
    await shoot(page, "stage half");
    await page.reload();
    assert.ok(Math.abs((await share()) - 0.5) < 0.01, "kept");
    await page.waitForFunction(() => document.querySelector("#splitter").getAttribute("aria-valuenow") === "50");
    await line.dblclick();
    await value(40);
    await page.setViewportSize({ width: 390, height: 844 });
    assert.ok(!(await line.isVisible()));
    assertQuiet(page);
  });
});

describe("what changes by itself", () => {
  test("the page that started the work shows it, others announce it", { timeout: 3 * PATIENCE }, async () => {
    await write("Three");
    const mine = await open(`/apps/${site}?view=draft`, { colorScheme: "dark" });
    const other = await open(`/apps/${site}?view=draft`, { viewport: { width: 1440, height: 900 }, colorScheme: "dark" });
    const length = await mine.evaluate(() => history.length);
    const address = other.url();
    await mine.locator("#next").getByRole("button", { name: "Deploy preview" }).first().click();
    await mine.locator('.frame[data-frame="preview"]').waitFor({ timeout: PATIENCE });
    assert.equal(await mine.evaluate(() => history.length), length, "Back leads through no view that nobody chose");
    assert.match(mine.url(), /view=preview/);

    const news = other.locator("#news");
    await news.getByText(/^Version \d+ is in preview/).waitFor({ timeout: PATIENCE });
    assert.equal(other.url(), address);
    assert.ok(await other.locator('.frame[data-frame="draft"]').isVisible(), "it stays");
    await assertAccessible(other, "news in the stage");
    await shoot(other, "stage news dark");
    await other.setViewportSize({ width: 390, height: 844 });
    await other.locator("#pane-stage").check({ force: true });
    await shoot(other, "stage news narrow dark");
    await news.getByRole("button", { name: "Show" }).click();
    await other.locator('.frame[data-frame="preview"]').waitFor();

    // What follows is not the work of this page any more.
    await done(builder, `/apps/${site}/publish`);
    await mine.locator("#news").getByText(/^Version \d+ is live/).waitFor({ timeout: PATIENCE });
    assert.ok(await mine.locator('.frame[data-frame="preview"]').isVisible());
    await shoot(mine, "stage news live dark");
    [mine, other].forEach(assertQuiet);
  });

  test("the tab tells what the app does, and one notification tells the end", { timeout: 2 * PATIENCE }, async () => {
    const page = await open(`/apps/${site}?view=draft`, { viewport: { width: 390, height: 844 }, permissions: ["notifications"] });
    await page.evaluate(() => {
      window.told = [];
      window.Notification = class {
        static permission = "granted";
        constructor(title, { body }) {
          window.told.push([title, body]);
        }
        close() {}
      };
    });
    const icon = () => page.locator("link[rel=icon]").getAttribute("href");
    const usual = await icon();
    const own = await page.title();
    await page.getByRole("textbox", { name: "Message" }).fill("A list of ropes and buoys");
    await page.getByRole("button", { name: "Send" }).click();
    const bell = page.getByRole("button", { name: "Tell me when it is done" });
    await bell.waitFor();
    await eventually("the title tells", async () => (await page.title()) === `● Writing · ${own}`);
    assert.match(await icon(), /^data:image\/svg\+xml,/);
    await bell.click();
    assert.equal(await bell.getAttribute("aria-pressed"), "true");
    await assertAccessible(page, "the composer at work");
    await shoot(page, "stage tell me narrow");
    await page.setViewportSize({ width: 1440, height: 900 });
    await shoot(page, "stage tell me");
    await page.getByRole("button", { name: "Send" }).waitFor({ timeout: PATIENCE });
    await eventually("it was told", () => page.evaluate(() => window.told.length === 1));
    assert.equal(await page.evaluate(() => window.told[0][0]), `${site} is done`);
    assert.equal(await page.title(), own, "it was seen");
    assert.equal(await icon(), usual);

    // Somebody who looks elsewhere meanwhile finds the mark in the tab. It is asked for only by the button, and a refusal is said.
    await page.evaluate(() => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => true });
      Notification.permission = "default";
      Notification.requestPermission = async () => "denied";
    });
    await page.getByRole("textbox", { name: "Message" }).fill("A list of nets and floats");
    await page.getByRole("button", { name: "Send" }).click();
    await bell.click();
    await page.getByText("Notifications are blocked").waitFor();
    assert.equal(await bell.getAttribute("aria-pressed"), "false");
    await eventually("it is done", async () => (await page.title()) === `✓ ${own}`);
    assert.equal(await page.evaluate(() => window.told.length), 1);
    await page.evaluate(() => {
      delete document.hidden;
      document.dispatchEvent(new Event("visibilitychange"));
    });
    assert.equal(await page.title(), own);
    assertQuiet(page);
  });

  for (const viewport of [{ width: 1440, height: 900 }, { width: 390, height: 844 }]) {
    test(`nothing jumps in a whole first turn at ${viewport.width} pixels`, { timeout: 3 * PATIENCE }, async () => {
      const page = await open("/", { viewport });
      await page.addInitScript(() => {
        window.shifts = [];
        new PerformanceObserver((list) => {
          for (const shift of list.getEntries()) {
            if (!shift.hadRecentInput) window.shifts.push({ value: shift.value, by: shift.sources.map(({ node }) => node?.id || node?.className || node?.nodeName) });
          }
        }).observe({ type: "layout-shift", buffered: true });
      });
      await page.getByRole("textbox", { name: "What do you want to build?" }).fill(`A quay of ${viewport.width} planks`);
      await page.getByRole("button", { name: "Create" }).click();
      await page.waitForURL(/\/apps\//);
      await chip(page, "Preview", "ready").waitFor({ timeout: PATIENCE });
      await page.locator("#strip .strip.done").waitFor({ timeout: PATIENCE });
      if (viewport.width > 900) await page.locator('.frame[data-frame="preview"]').waitFor({ timeout: PATIENCE });
      await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
      const shifts = await page.evaluate(() => window.shifts);
      const sum = shifts.reduce((all, { value }) => all + value, 0);
      console.log(`# layout shifts at ${viewport.width}: ${sum.toFixed(4)}`);
      assert.ok(sum < 0.02, JSON.stringify(shifts));
      await shoot(page, `stage first turn ${viewport.width}`);
      assertQuiet(page);
    });
  }
});

describe("the first page", () => {
  test("shows what happens to apps without a reload, and what they look like", { timeout: 3 * PATIENCE }, async () => {
    const page = await open("/", { viewport: { width: 1440, height: 900 } });
    await page.evaluate(() => (window.sameDocument = true));
    const card = page.locator(".app-card", { has: page.getByRole("link", { name: site, exact: true }) });
    await card.locator(".tile", { hasText: /[a-z]/ }).waitFor();
    await builder.api("POST", `/apps/${site}/turns`, { prompt: "A list of gulls" });
    await card.getByText("Writing…").waitFor();
    await card.scrollIntoViewIfNeeded();
    await shoot(page, "home writing");
    await eventually("the turn has ended", async () => (await card.getByText("Writing…").count()) === 0);
    const deployed = done(builder, `/apps/${site}/previews`);
    await card.locator(".chip.deploying").waitFor({ timeout: PATIENCE });
    await deployed;
    await card.locator(".chip.ready").first().waitFor();

    // A new app comes first; one that is deleted goes.
    const name = "fresh-tide";
    await builder.api("POST", "/apps", { name, template: "simple-api", description: "Tides" });
    await page.locator(".cards > li").first().getByRole("link", { name, exact: true }).waitFor();
    const count = Number(await page.locator("#app-count").innerText());
    await builder.api("DELETE", `/apps/${name}`);
    await page.getByRole("link", { name, exact: true }).waitFor({ state: "detached", timeout: PATIENCE });
    assert.equal(Number(await page.locator("#app-count").innerText()), count - 1);
    assert.ok(await page.evaluate(() => window.sameDocument));
    await assertAccessible(page, "live cards");
    await page.setViewportSize({ width: 390, height: 844 });
    await page.emulateMedia({ colorScheme: "dark" });
    await card.scrollIntoViewIfNeeded();
    await shoot(page, "home tiles narrow dark");
    assertQuiet(page);
  });
});

