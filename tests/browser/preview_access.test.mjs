// Previews that require a login, in the browser: the frame shows the preview at once, a link opens it without a password,
// and where apps have their own site nothing changes.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  assertAccessible, assertQuiet, done, eventually, logIn, openPage, password, PATIENCE, shoot, startBrowser, startBuilder, watch,
} from "./support.mjs";

let browser;
before(async () => (browser = await startBrowser()));
after(() => browser?.close());

/** A call of the HTTP API by a page of ours, with its session, that must go well; its JSON. */
async function ask(page, method, path, body) {
  const { ok, text } = await page.evaluate(async ([method, path, body]) => {
    const json = typeof body === "object" && method !== "GET";
    const answer = await fetch(`/api/v1${path}`, {
      method, headers: json ? { "content-type": "application/json" } : {}, body: json ? JSON.stringify(body) : body,
    });
    return { ok: answer.ok, text: await answer.text() };
  }, [method, path, body]);
  assert.ok(ok, `${method} ${path}: ${text}`);
  return text.startsWith("{") ? JSON.parse(text) : text;
}

/** The app of a test with a preview, made over the API by the page that is logged in. */
async function deploy(page, name) {
  const call = (...words) => ask(page, ...words);
  await call("POST", "/apps", { name, template: "static-site", description: "A page to show", auto_preview: false });
  await call("PUT", `/apps/${name}/files/public/index.html`, "<!doctype html><title>T</title><h1>Tides</h1><script>console.error('low water')</script>");
  await done({ api: call }, `/apps/${name}/previews`);
}

test("from the log-in to a link for somebody else", { timeout: PATIENCE * 2 }, async () => {
  const builder = await startBuilder({ SLIPWAY_ADMIN_PASSWORD: password });
  try {
    const page = await openPage(browser, { colorScheme: "light" });
    await logIn(page, builder.origin);
    await deploy(page, "slack-water");
    for (const place of ["draft", "preview"]) {
      await page.goto(`${builder.origin}/apps/slack-water?view=${place}`);
      await page.frameLocator(".frame iframe").getByRole("heading", { name: "Tides" }).waitFor();
      // Reports of errors come with the cookie.
      await page.getByText("1 browser error").waitFor();
    }
    page.problems = page.problems.filter((problem) => !problem.includes("low water"));
    await shoot(page, "preview behind the log-in");

    // A link on another site works with the existing login.
    const elsewhere = watch(await page.context().newPage());
    await elsewhere.goto(`http://127.0.0.1:${builder.port}/healthz`);
    await elsewhere.evaluate((url) => (location.href = url), `${builder.origin}/settings`);
    await elsewhere.getByRole("heading", { name: "Sessions" }).waitFor();
    await elsewhere.goto(`http://127.0.0.1:${builder.port}/healthz`);
    await elsewhere.evaluate((url) => (location.href = url), builder.host("slack-water-preview"));
    await elsewhere.getByRole("heading", { name: "Tides" }).waitFor();
    await elsewhere.close();

    await page.getByRole("link", { name: "Share", exact: true }).click();
    await page.getByLabel("Valid for").selectOption("1h");
    await assertAccessible(page, "share");
    await page.getByRole("button", { name: "Create a link" }).click();
    const link = await page.getByRole("status").locator("code").textContent();
    await page.getByRole("cell", { name: "Preview", exact: true }).waitFor();
    await assertAccessible(page, "share with a link");
    await shoot(page, "share light");
    await page.emulateMedia({ colorScheme: "dark" });
    await shoot(page, "share dark");
    await page.setViewportSize({ width: 390, height: 800 });
    await shoot(page, "share narrow");
    await page.setViewportSize({ width: 1280, height: 800 });

    // Another user, without a session.
    const other = await openPage(browser);
    await other.goto(builder.host("slack-water-preview"));
    await other.getByLabel("Password").waitFor();
    await other.goto(link);
    await other.getByRole("heading", { name: "Tides" }).waitFor();
    assert.equal(other.url(), `${builder.host("slack-water-preview")}/`, "the clean address");
    await other.goto(builder.host("slack-water-draft"));
    await other.getByLabel("Password").waitFor();

    await page.getByRole("button", { name: /^Revoke/ }).click();
    await page.getByText("There are no active links.").waitFor();
    await other.goto(builder.host("slack-water-preview"));
    await other.getByLabel("Password").waitFor();
    await other.goto(link);
    await other.getByRole("heading", { name: "This link is no longer valid" }).waitFor();
    await shoot(other, "share link ended");

    // The preview's own address, after the login that it requires.
    await logIn(other, `${builder.host("slack-water-preview")}/?high=tide`);
    await other.getByRole("heading", { name: "Tides" }).waitFor();
    assert.equal(other.url(), `${builder.host("slack-water-preview")}/?high=tide`);
    assertQuiet(page);
    await Promise.all([page.context().close(), other.context().close()]);
  } finally {
    await builder.stop();
  }
});

test("the frame shows a preview on one site and on another, and says so where it cannot", { timeout: PATIENCE * 2 }, async () => {
  // Names that Chromium resolves to this machine: with plain http, third-party cookies are not stored.
  const mapped = await startBrowser(["--host-resolver-rules=MAP *.test 127.0.0.1"]);
  try {
    for (const [own, apps, shows] of [["quay.test", "", true], ["quay.test", "wharf.test", false]]) {
      const builder = await startBuilder({
        SLIPWAY_ADMIN_PASSWORD: password, SLIPWAY_DOMAIN: own, ...(apps && { SLIPWAY_APPS_DOMAIN: apps }),
      });
      builder.origin = `http://builder.${own}:${builder.port}`;
      const page = await openPage(mapped);
      await logIn(page, builder.origin);
      await ask(page, "POST", "/apps", { name: "slack-water", template: "static-site", description: "A page to show", auto_preview: false });
      await page.goto(`${builder.origin}/apps/slack-water?view=draft`);
      const frame = page.frameLocator(".frame iframe");
      if (shows) {
        await frame.getByRole("heading").first().waitFor();
        assert.match(page.frames()[1].url(), /slack-water-draft\.quay\.test/);
        // A browser without its access cookie gets a new one through the builder's host.
        await page.context().clearCookies({ name: /slipway_preview/ });
        await page.frames()[1].evaluate(() => void setTimeout(() => location.reload()));
        await eventually("the pass is there again", async () =>
          (await page.context().cookies()).some(({ name }) => name.includes("slipway_preview")), 10_000);
        await frame.getByRole("heading").first().waitFor();
      } else {
        await frame.getByRole("heading", { name: "This page needs a cookie" }).waitFor();
        await shoot(page, "preview on another site without https");
        const [tab] = await Promise.all([
          page.context().waitForEvent("page"),
          frame.getByRole("link", { name: "Open it in a new tab" }).click(),
        ]);
        watch(tab);
        await eventually("the tab shows the draft", () => tab.url() === `http://slack-water-draft.${apps}:${builder.port}/`);
      }
      await page.context().close();
      await builder.stop();
    }
  } finally {
    await mapped.close();
  }
});
