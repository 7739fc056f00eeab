// Failures in the conversation: one card at its end, with one primary button, and what becomes of it.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import {
  assertAccessible, assertQuiet, done, eventually, openAt, openPage, PATIENCE, shoot, startBrowser, startBuilder } from "./support.mjs";
import { settingsFor, startModel } from "./scripted_model.mjs";

const page404 = "<!doctype html><title>Crumb</title><h1>Crumb</h1><a href=gone.html>Gone</a>\n";

/** Writes a page with a dead link; attempts to fix it change nothing until a user asks for a fix. */
function script(words, step, all) {
  if (step > 0) return { text: "Done." };
  if (all.includes("could not be deployed")) {
    return { text: "The page is missing.", calls: [["write_file", { path: "public/gone.html", content: "<h1>Here</h1>\n" }]] };
  }
  if (all.includes("The preview of your work failed")) return { text: "The link is fine as it is." };
  return { calls: [["write_file", { path: "public/index.html", content: page404 }]] };
}

let model;
let builder;
let browser;
let page;
before(async () => {
  model = await startModel(script);
  [builder, browser] = await Promise.all([startBuilder(settingsFor(model)), startBrowser()]);
});
after(async () => {
  await browser?.close();
  await builder?.stop();
  model?.close();
});
afterEach(async ({ name }) => {
  await shoot(page, `last ${name}`).catch(() => {});
  await page?.context().close();
});

const card = () => page.locator("#trouble .failure");
const bar = () => page.locator("#next");
const say = async (words) => {
  await page.getByRole("textbox", { name: "Message", exact: true }).fill(words);
  await page.getByRole("button", { name: "Send" }).click();
};

test("a failure stands at the end of the conversation, and each way out of it works", { timeout: 240_000 }, async () => {
  const name = "crumb";
  await builder.api("POST", "/apps", { description: "A bakery", template: "static-site", name, auto_preview: true });
  await done(builder, `/apps/${name}/previews`);
  page = await openAt(browser, `${builder.origin}/apps/${name}?view=preview`, { viewport: { width: 1440, height: 900 } });
  await say("A link to another page");

  await card().waitFor({ timeout: PATIENCE });
  const words = await card().innerText();
  assert.match(words, /^Not deployed\. GET \/gone\.html returned an error \(404\), so this version was not put live\./);
  assert.match(words, /Version 1 still runs in preview\./);
  assert.match(words, /The last attempt to fix this changed nothing\./);
  await page.locator(".repair-note", { hasText: "Fix attempt 1 of 3 · The preview failed" }).waitFor();
  const primary = page.locator(".button.primary:visible", { hasNotText: "Send" });
  assert.deepEqual(await primary.allInnerTexts(), ["Fix with Claude"], "one primary button");
  await bar().getByRole("button", { name: "Fix", exact: true }).waitFor();
  assert.equal(await bar().getByText("Deploy preview").count(), 1, "only in the menu");
  const below = await card().evaluate((card) => card.getBoundingClientRect().bottom <= document.querySelector("#talk").getBoundingClientRect().bottom + 1);
  assert.ok(below, "the conversation is at its end");
  const strip = page.locator("#strip");
  assert.ok((await strip.boundingBox()).height < 45, "no banner over the page");
  await strip.getByText("Preview deployment failed").waitFor();
  await strip.getByRole("link", { name: "Log" }).waitFor();
  await assertAccessible(page, "a failed deployment");
  await shoot(page, "trouble 1440 light");

  const small = await openPage(browser, { viewport: { width: 390, height: 844 }, colorScheme: "dark" });
  await small.goto(`${builder.origin}/apps/${name}?view=preview`);
  await small.locator("#strip").getByRole("link", { name: "Why" }).click();
  await small.locator("#trouble .failure").waitFor();
  await assertAccessible(small, "a failed deployment on a phone");
  await shoot(small, "trouble 390 dark");
  await small.emulateMedia({ colorScheme: "light" });
  await shoot(small, "trouble 390 light");
  await small.context().close();

  await card().getByRole("button", { name: "Deploy anyway" }).click();
  await strip.getByText("1 check ignored").waitFor({ timeout: PATIENCE });
  await card().waitFor({ state: "hidden" });
  await page.locator("#stage .frame").waitFor();
  await shoot(page, "trouble ignored");
  await page.getByRole("navigation", { name: "Parts of the app" }).getByRole("link", { name: "Releases" }).click();
  await page.locator("#releases .tag", { hasText: "1 check ignored" }).waitFor();
  const { releases } = await builder.api("GET", `/apps/${name}/releases?environment=preview`);
  assert.equal(releases[0].ignored_checks, 1);

  // The note over the running version is refreshed when the next deployment fails.
  await builder.api("PUT", `/apps/${name}/files/public/about.html`, "<h1>About</h1><img src=no.png>\n");
  await page.goto(`${builder.origin}/apps/${name}?view=preview`);
  const note = page.locator("#note");
  await note.getByText("A newer version can be deployed.").waitFor();
  await bar().getByRole("button", { name: "Deploy preview" }).first().click();
  await card().waitFor({ timeout: PATIENCE });
  await eventually("the note is true again", async () => /A newer version can be deployed/.test(await note.innerText()));
  await page.emulateMedia({ colorScheme: "dark" });
  await shoot(page, "trouble 1440 dark");

  await card().getByRole("button", { name: /^Back to version 2$/ }).click();
  await card().waitFor({ state: "detached" });
  await bar().getByRole("button", { name: "Deploy preview" }).first().waitFor();
  assertQuiet(page);
});

test("Fix with Claude starts a turn and the card goes", { timeout: 120_000 }, async () => {
  const name = "crust";
  await builder.api("POST", "/apps", { description: "A bakery", template: "static-site", name, auto_preview: true });
  page = await openAt(browser, `${builder.origin}/apps/${name}`);
  await say("A link to another page");
  await card().getByRole("button", { name: "Fix with Claude" }).click({ timeout: PATIENCE });
  await page.locator(".user-message", { hasText: "could not be deployed" }).waitFor();
  await card().waitFor({ state: "detached" });
  await page.locator("#strip").getByText("Preview runs version 3").waitFor({ timeout: PATIENCE });
  assert.equal(await card().count(), 0);
  assertQuiet(page);
});
