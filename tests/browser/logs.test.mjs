// Logs in the browser: times, following, searching the whole log, levels, links to lines.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { get } from "node:http";
import { after, afterEach, before, test } from "node:test";
import { PATIENCE, assertAccessible, assertQuiet, done, eventually, openAt, openPage, shoot, startBrowser, startBuilder, weigh } from "./support.mjs";

let builder;
let browser;
let page;
const app = "tide-log";
const program = `from fastapi import FastAPI
app = FastAPI()
print('the gauge is ready')
for n in range(4000):
    print(f'line {n}')
print('ERROR:root:the gauge is silent')
print('WARNING: the gauge is late')
print('<b>done</b>', flush=True)
@app.get('/health')
def health():
    return 'ok'
@app.get('/say/{word}')
def say(word: str):
    print('said', word, flush=True)
    return word
`;

before(async () => {
  [builder, browser] = await Promise.all([startBuilder(), startBrowser()]);
  await builder.api("POST", "/apps", { name: app, template: "simple-api", description: "Prints" });
  await builder.api("PUT", `/apps/${app}/files/main.py`, program);
  await done(builder, `/apps/${app}/previews`);
});
after(async () => {
  await browser?.close();
  await builder?.stop();
});
afterEach(async () => {
  await page?.context().close();
  page = undefined;
});

const address = (query = "") => `${builder.origin}/apps/${app}/logs?source=preview${query}`;
const lines = () => page.locator("#log-lines > div");
const follow = () => page.getByRole("button", { name: "Follow" });
const isAtEnd = () => page.locator("#log-lines").evaluate((log) => log.scrollHeight - log.scrollTop - log.clientHeight < 4);
/** The status of a request to the app's preview. */
const ask = (path) => new Promise((resolve, reject) => {
  const request = get({ host: "127.0.0.1", port: builder.port, path, headers: { host: `${app}-preview.localhost` } }, (answer) => {
    answer.resume().on("end", () => resolve(answer.statusCode));
  });
  request.on("error", reject);
});
/** The app prints a line. */
const say = async (word) => assert.equal(await ask(`/say/${word}`), 200);

test("a log is followed until somebody scrolls, in any way", { timeout: 2 * PATIENCE }, async () => {
  page = await openAt(browser, address(), { timezoneId: "America/New_York", hasTouch: true });
  await lines().filter({ hasText: "<b>done</b>" }).waitFor();
  await say("one");
  await lines().filter({ hasText: "said one" }).waitFor();
  await eventually("the end is in sight", isAtEnd);
  // Each line has its time, in the reader's zone.
  const time = lines().last().locator("time");
  const iso = await time.getAttribute("datetime");
  const local = new Intl.DateTimeFormat("en-US", { timeZone: "America/New_York", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  assert.equal(await time.textContent(), local.format(new Date(iso)));
  await time.hover();
  assert.match(await time.getAttribute("title"), /20\d\d.*\.\d{3}/);
  assert.equal(await page.locator("#log-lines div.error").count(), 1);
  assert.equal(await page.locator("#log-lines div.warn").count(), 1);

  const log = page.locator("#log-lines");
  const ways = {
    wheel: () => page.mouse.wheel(0, -400),
    keyboard: async () => {
      await log.focus();
      await page.keyboard.press("PageUp");
    },
    touch: async () => {
      const box = await log.boundingBox();
      const session = await page.context().newCDPSession(page);
      const [x, y] = [box.x + box.width / 2, box.y + 60];
      const touch = (type, down) => session.send("Input.dispatchTouchEvent", { type, touchPoints: down === undefined ? [] : [{ x, y: y + down }] });
      await touch("touchStart", 0);
      for (let down = 20; down <= 240; down += 20) await touch("touchMove", down);
      await touch("touchEnd");
      await session.detach();
    },
    // A scroll bar is not drawn here. It scrolls without any event of keys or pointers.
    "scroll bar": () => log.evaluate((element) => (element.scrollTop -= 500)),
  };
  for (const [way, scroll] of Object.entries(ways)) {
    await log.hover();
    await scroll();
    await page.locator("[data-log-follow][aria-pressed=false]").waitFor({ timeout: 5000 }).catch(() => assert.fail(way));
    const top = () => log.evaluate((element) => element.scrollTop);
    const word = way.replace(" ", "-");
    await say(word);
    await lines().filter({ hasText: `said ${word}` }).waitFor({ state: "attached" });
    assert.ok(!(await isAtEnd()), `${way}: new lines do not move it, at ${await top()}`);
    // A wheel and a finger scroll on for a while.
    await log.evaluate(async (element) => {
      for (let still = 0, before = -1; still < 20; before = element.scrollTop) {
        await new Promise(requestAnimationFrame);
        still = element.scrollTop === before ? still + 1 : 0;
      }
    });
    await follow().click();
    await eventually(`${way}: it follows again`, isAtEnd);
    assert.equal(await follow().getAttribute("aria-pressed"), "true");
  }
  await assertAccessible(page, "a log");
  await shoot(page, "log live");
  assertQuiet(page);
});

test("the whole log is searched, not only the lines of the page", { timeout: PATIENCE }, async () => {
  page = await openAt(browser, address());
  const search = page.getByLabel("Search the log");
  // The first line is not among those of the page.
  await search.fill("GAUGE");
  await page.getByText("2 of the lines shown").waitFor();
  await search.press("Enter");
  await page.getByText("3 of 3 lines").waitFor();
  assert.deepEqual(await page.locator("#log-lines .at mark").allTextContents(), ["gauge"]);
  await page.getByLabel("Search the log").press("Shift+Enter");
  await page.getByText("2 of 3 lines").waitFor();
  assert.match(await page.locator("#log-lines > .at").textContent(), /silent/);
  await shoot(page, "log searched");
  // The one before is outside of the page: it is loaded.
  await page.getByRole("link", { name: "Previous" }).click();
  await page.getByText("1 of 3 lines").waitFor();
  assert.match(await page.locator("#log-lines > .at").textContent(), /the gauge is ready/);
  await assertAccessible(page, "a searched log");
  await page.getByLabel("Search the log").fill("no such boat");
  await page.getByLabel("Search the log").press("Enter");
  await page.getByText("Not found in the whole log").waitFor();
  assert.ok((await lines().count()) > 100, "the log stays in sight");
  await page.getByRole("link", { name: "Follow" }).click();
  await page.locator("[data-log-follow][aria-pressed=true]").waitFor();
  await page.getByLabel("Level").selectOption("Errors");
  await page.waitForURL(/level=error/);
  await eventually("only errors", async () => (await lines().count()) === 1);
  await shoot(page, "log errors");
  assertQuiet(page);
});

test("a link to a line opens there", { timeout: PATIENCE }, async () => {
  page = await openAt(browser, address("&q=line+1500"));
  const row = page.locator("#log-lines > .at");
  await row.getByText("line 1500").waitFor();
  await row.locator("a").click();
  const link = page.url();
  assert.match(link, /at=\d+.*#L\d+$/);
  await page.goto("about:blank");
  await page.goto(link.replace(/q=[^&]*&/, ""));
  await row.getByText("line 1500").waitFor();
  assert.ok(await row.evaluate((element) => {
    const [line, log] = [element, element.parentElement].map((one) => one.getBoundingClientRect());
    return line.top >= log.top && line.bottom <= log.bottom;
  }), "the line is in sight");
  await page.getByRole("link", { name: "Show earlier lines" }).click();
  await lines().filter({ hasText: /line 600$/ }).waitFor({ state: "attached" });
  assertQuiet(page);
});

test("without scripts the log is searched and downloaded", { timeout: PATIENCE }, async () => {
  page = await openPage(browser, { javaScriptEnabled: false, viewport: { width: 390, height: 844 } });
  await page.goto(address());
  assert.match(await lines().last().locator("time").textContent(), /\d\d:\d\d:\d\d/);
  await page.getByLabel("Search the log").fill("gauge");
  await page.getByRole("button", { name: "Search the whole log" }).click();
  await page.getByText("3 of 3 lines").waitFor();
  await page.getByRole("link", { name: "Previous" }).click();
  await page.getByText("2 of 3 lines").waitFor();
  await shoot(page, "log without scripts");
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "Download the whole log" }).click()]);
  const text = readFileSync(await download.path(), "utf8");
  assert.match(text, /^\d{4}-\d\d-\d\dT\S+Z the gauge is ready$/m);
  assert.ok(text.split("\n").length > 4000);
});

test("a full log is small on the wire, and fits in light, dark and narrow", { timeout: PATIENCE }, async () => {
  for (const [name, options] of [["dark", { colorScheme: "dark", viewport: { width: 1440, height: 900 } }], ["narrow", { viewport: { width: 390, height: 844 } }]]) {
    page = await openAt(browser, address(), options);
    await lines().first().waitFor({ state: "attached" });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name}: nothing hangs out`);
    await shoot(page, `log ${name}`);
    await page.context().close();
  }
  page = await openPage(browser);
  const { bytes, foreign } = await weigh(page, address());
  assert.deepEqual(foreign, []);
  assert.ok(bytes <= 75_000, `${bytes} bytes`);
});

test("requests appear as they arrive, and are filtered", { timeout: PATIENCE }, async () => {
  page = await openAt(browser, `${builder.origin}/apps/${app}/requests`, { viewport: { width: 1440, height: 900 } });
  let rows = page.locator("#request-rows tr");
  assert.equal(await ask("/say/wave?token=secret"), 200);
  await rows.first().getByText("/say/wave", { exact: true }).waitFor();
  assert.equal(await ask("/no-such-page"), 404);
  await rows.first().getByText("/no-such-page").waitFor();
  assert.ok(!(await page.content()).includes("secret"));
  await assertAccessible(page, "requests");
  await shoot(page, "requests");
  await page.getByLabel("Status").selectOption("4xx: rejected");
  await page.waitForURL(/status=4/);
  await eventually("only one is rejected", async () => (await rows.count()) === 1);
  assert.equal(await ask("/say/hidden"), 200);
  assert.equal(await ask("/another"), 404);
  await rows.first().getByText("/another").waitFor();
  assert.equal(await rows.count(), 2, "the filter applies to new requests");
  assertQuiet(page);
  await page.context().close();
  page = await openAt(browser, `${builder.origin}/apps/${app}/requests?q=none`, { viewport: { width: 390, height: 844 }, colorScheme: "dark" });
  await page.getByText("None of the last requests matches.").waitFor();
  await shoot(page, "requests empty narrow dark");
  await page.goto(`${builder.origin}/apps/${app}/requests`);
  rows = page.locator("#request-rows tr");
  await rows.first().waitFor();
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "nothing hangs out");
  await shoot(page, "requests narrow dark");
});

test("metrics are plots and a table", { timeout: PATIENCE }, async () => {
  await ask("/say/metric");
  for (const [name, options] of [["light", { viewport: { width: 1440, height: 900 } }], ["narrow dark", { viewport: { width: 390, height: 844 }, colorScheme: "dark" }]]) {
    page = await openAt(browser, `${builder.origin}/apps/${app}/metrics`, options);
    await page.getByText(/\d+ requests?, 0 failed with 5xx/).first().waitFor();
    assert.equal(await page.getByRole("img", { name: "Requests" }).count(), 1);
    await page.getByText("As a table").click();
    assert.equal(await page.locator(".metrics-table tbody tr").count(), 24);
    await assertAccessible(page, `metrics ${name}`);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name}: nothing hangs out`);
    await page.getByText("As a table").click();
    await shoot(page, `metrics ${name}`);
    await page.goto(`${builder.origin}/apps/${app}/metrics?environment=prod`);
    await page.getByText("Nothing runs in production.").waitFor();
    await shoot(page, `metrics empty ${name}`);
    assertQuiet(page);
    if (name === "light") await page.context().close();
  }
});
