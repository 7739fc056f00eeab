// Sessions and API tokens on the settings page, and what an app on a neighbouring host can do to a session.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { after, before, test } from "node:test";
import { expose } from "./network.mjs";
import {
  assertAccessible, assertQuiet, eventually, logIn, openPage, password, PATIENCE, shoot, startBrowser, startBuilder,
} from "./support.mjs";

let browser;
before(async () => (browser = await startBrowser()));
after(() => browser?.close());

/** A person's next click: the settings in the menu. */
async function clickOn(page) {
  await page.getByLabel("Menu", { exact: true }).click();
  await page.getByRole("link", { name: "Settings" }).click();
}

/** Screenshots of the whole page, light and dark, wide and narrow. */
async function shootAll(page, name) {
  for (const [colorScheme, width] of [["light", 1280], ["dark", 1280], ["light", 390], ["dark", 390]]) {
    await page.emulateMedia({ colorScheme });
    await page.setViewportSize({ width, height: 1100 });
    await page.locator("#sessions").scrollIntoViewIfNeeded();
    const scrolls = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
    assert.ok(!scrolls, `${name} is not wider than ${width}`);
    await page.evaluate(() => document.querySelector("#sessions").scrollIntoView());
    await shoot(page, `${name} ${colorScheme} ${width}`);
  }
  await page.setViewportSize({ width: 1280, height: 800 });
}

/** Whether a call of the HTTP API with a token is let in. */
async function statusWith(builder, token, method = "GET", path = "/apps") {
  const answer = await fetch(`http://127.0.0.1:${builder.port}/api/v1${path}`, {
    method, headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    ...(method !== "GET" && { body: "{}" }),
  });
  return answer.status;
}

/** What a server answers to an image on a page; the page itself does not learn it. */
async function statusOfImage(page, url) {
  const network = await page.context().newCDPSession(page);
  await network.send("Network.enable");
  const answers = new Map();
  network.on("Network.responseReceivedExtraInfo", ({ requestId, statusCode }) => answers.set(requestId, statusCode));
  const ids = [];
  network.on("Network.requestWillBeSent", ({ requestId, request }) => request.url === url && ids.push(requestId));
  await page.evaluate((url) => void (new Image().src = url), url);
  const status = await eventually("the image is answered", () => answers.get(ids[0]), 10_000);
  await network.detach();
  return status;
}

test("sessions are listed and ended, tokens are made and revoked", { timeout: PATIENCE }, async () => {
  const builder = await startBuilder({ SLIPWAY_ADMIN_PASSWORD: password });
  try {
    const page = await openPage(browser, { colorScheme: "light" });
    await logIn(page, builder.origin);
    const other = await openPage(browser, { userAgent: `Wharfinger/${"1".repeat(300)} of a very long name` });
    await logIn(other, builder.origin);
    const third = await openPage(browser, { userAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0" });
    await logIn(third, builder.origin);

    await page.goto(`${builder.origin}/settings`);
    const rows = page.locator("#session-list tbody tr");
    assert.equal(await rows.count(), 3);
    await rows.filter({ hasText: "this browser" }).filter({ hasText: "Chrome on Linux" }).waitFor();
    await rows.filter({ hasText: "Firefox on Linux" }).waitFor();
    await assertAccessible(page, "settings with a password");

    // Another session is ended: its next click redirects to the login.
    await rows.filter({ hasText: "Wharfinger" }).getByRole("button", { name: "Log out" }).click();
    await rows.filter({ hasText: "Wharfinger" }).waitFor({ state: "detached" });
    await clickOn(other);
    await other.getByLabel("Password").waitFor();

    // A token with a scope and an expiry, shown once.
    await page.getByLabel("Name", { exact: true }).fill("Nightly build");
    await page.getByLabel("Scope").selectOption("read");
    await page.getByLabel("Expires after").selectOption("7");
    await page.getByRole("button", { name: "Create a token" }).click();
    const token = await page.getByRole("status").locator("code").textContent();
    const row = page.locator("#token-list tbody tr");
    await row.filter({ hasText: "Nightly build" }).filter({ hasText: "in 6 days" }).or(row.filter({ hasText: "in 7 days" })).waitFor();
    await assertAccessible(page, "settings with a token");
    await shootAll(page, "settings sessions");
    assert.equal(await statusWith(builder, token), 200);
    assert.equal(await statusWith(builder, token, "POST"), 403, "a token that reads");
    await page.goto(`${builder.origin}/settings`);
    assert.ok(!(await page.content()).includes(token), "shown once");
    await row.getByRole("button", { name: "Revoke Nightly build" }).click();
    await page.getByText("There are no tokens.").waitFor();
    assert.equal(await statusWith(builder, token), 401);

    // All sessions are logged out, after a confirmation.
    page.once("dialog", (dialog) => dialog.dismiss());
    await page.getByRole("button", { name: "Log out everywhere" }).click();
    assert.equal((await page.reload()).status(), 200, "nothing was done yet");
    await page.getByRole("heading", { name: "Sessions" }).waitFor();
    let asked = "";
    page.once("dialog", (dialog) => {
      asked = dialog.message();
      return dialog.accept();
    });
    await page.getByRole("button", { name: "Log out everywhere" }).click();
    await page.getByLabel("Password").waitFor();
    assert.match(asked, /including this one/);
    await clickOn(third);
    await third.getByLabel("Password").waitFor();
    assertQuiet(page);
    await Promise.all([page, other, third].map((page) => page.context().close()));
  } finally {
    await builder.stop();
  }
});

test("an app on a neighbouring host neither locks the browser out nor loads our pages", { timeout: PATIENCE }, async () => {
  // Over plain http, browsers ignore Clear-Site-Data and send no Sec-Fetch-Site.
  const mapped = await startBrowser(["--host-resolver-rules=MAP *.test 127.0.0.1"]);
  const pages = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<!doctype html><title>App</title>"));
  await new Promise((resolve) => pages.listen(0, "127.0.0.1", resolve));
  await expose(pages.address().port);
  const builder = await startBuilder({ SLIPWAY_ADMIN_PASSWORD: password, SLIPWAY_DOMAIN: "quay.test" });
  try {
    builder.origin = `http://builder.quay.test:${builder.port}`;
    const page = await openPage(mapped);
    await logIn(page, builder.origin);

    const app = await page.context().newPage();
    await app.goto(`http://ducks.quay.test:${pages.address().port}`);
    // A link works with the existing login; an image is rejected.
    assert.equal(await statusOfImage(app, `${builder.origin}/settings`), 403);
    await app.evaluate((url) => (location.href = url), `${builder.origin}/settings`);
    await app.getByRole("heading", { name: "Sessions" }).waitFor();

    await app.goto(`http://ducks.quay.test:${pages.address().port}`);
    await app.evaluate(() => {
      for (let n = 0; n < 175; n += 1) {
        const path = n % 2 === 0 ? "/" : "/settings";
        document.cookie = `c${n}=${"x".repeat(4000)}; Domain=quay.test; Path=${path}; Max-Age=100000`;
      }
    });
    await eventually("the browser is full", async () => {
      const sent = await app.context().cookies(`${builder.origin}/settings`);
      return sent.filter(({ value }) => value.length === 4000).length === 175;
    }, 20_000);
    const answer = await page.goto(`${builder.origin}/settings`);
    assert.equal(answer.status(), 431);
    await page.getByRole("heading", { name: "Too many cookies" }).waitFor();
    await shoot(page, "too many cookies");
    // The session is still valid, and a new one can start.
    await page.reload();
    await page.getByRole("heading", { name: "Sessions" }).waitFor();
    page.once("dialog", (dialog) => dialog.accept());
    await page.getByRole("button", { name: "Log out everywhere" }).click();
    // Otherwise its navigation and ours conflict.
    await page.waitForURL((url) => url.pathname === "/login");
    await logIn(page, `${builder.origin}/settings`);
    await page.getByRole("heading", { name: "Sessions" }).waitFor();
    await page.context().close();
  } finally {
    await builder.stop();
    await mapped.close();
    await new Promise((resolve) => pages.close(resolve));
  }
});
