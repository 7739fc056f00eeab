// The cards of versions in the conversation: restored and redone in place, a message edited and sent again, with and
// without scripts.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import {
  assertAccessible, assertQuiet, done, eventually, openAt, openPage, shoot, startBrowser, startBuilder } from "./support.mjs";
import { settingsFor, startModel } from "./scripted_model.mjs";

const app = "crumb";
const site = (words) => `<!doctype html><title>Crumb</title><h1>${words}</h1>\n`;

/** Writes what it is asked for; one edit of a message about cakes is refused. */
function script(words, step) {
  if (words.includes("broken edit")) {
    const edit = ["edit_file", { path: "public/index.html", old_text: `nowhere ${step}`, new_text: "x" }];
    return step < 2 ? { calls: [edit] } : { text: "The lemon cake is on the list." };
  }
  if (step > 0) return { text: `Here is **${words}**.` };
  return { calls: [["write_file", { path: "public/index.html", content: site(words) }]] };
}

let model;
let builder;
let browser;
let page;
before(async () => {
  model = await startModel(script);
  [builder, browser] = await Promise.all([startBuilder(settingsFor(model)), startBrowser()]);
  await builder.api("POST", "/apps", { description: "A bakery", template: "static-site", name: app, auto_preview: false });
  for (const prompt of ["Bread", "Buns", "Cakes"]) await done(builder, `/apps/${app}/turns`, { prompt });
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

const card = (number, of = page) => of.locator(`.version-card[data-version="${number}"]`);
const text = async (path) => builder.api("GET", `/apps/${app}/files/${path}`);

test("a version is restored and redone in place", { timeout: 120_000 }, async () => {
  page = await openAt(browser, `${builder.origin}/apps/${app}`, {
    viewport: { width: 1440, height: 900 }, permissions: ["clipboard-read", "clipboard-write"] });
  assert.equal(await page.locator(".version-card").count(), 3);
  assert.match(await card(4).innerText(), /^v4\s+Cakes/);
  await card(4).locator(".file-change", { hasText: "public/index.html" }).getByText("+1 −1").waitFor();
  assert.equal(await card(4).getByRole("button", { name: /Restore/ }).isVisible(), false, "it is the current version");
  await shoot(page, "cards 1440 light");

  await card(2).getByRole("button", { name: "Restore version 2" }).click();
  await card(4).getByText("undone by you").waitFor();
  assert.equal(await card(3).getByText("undone by you").isVisible(), true);
  assert.equal(await card(2).getByRole("button", { name: /Restore/ }).isVisible(), false);
  assert.match(await text("public/index.html"), /Bread/);
  await eventually("the stage shows it", () => page.frameLocator(".frame iframe:not(.next)").locator("h1").textContent().then((words) => words === "Bread", () => false));
  assert.equal(new URL(page.url()).pathname, `/apps/${app}`, "in place");
  await assertAccessible(page, "undone versions");
  await shoot(page, "cards undone 1440 light");
  await page.emulateMedia({ colorScheme: "dark" });
  await assertAccessible(page, "undone versions, dark");
  await shoot(page, "cards undone 1440 dark");
  await page.setViewportSize({ width: 390, height: 844 });
  await page.locator("#pane-talk").check({ force: true });
  await shoot(page, "cards undone 390 dark");
  await page.emulateMedia({ colorScheme: "light" });
  await shoot(page, "cards undone 390 light");
  await page.setViewportSize({ width: 1440, height: 900 });

  // A page that is loaded now says the same.
  await page.reload();
  assert.equal(await card(4).getByText("undone by you").isVisible(), true);
  await card(4).getByRole("button", { name: "Redo version 4" }).click();
  await card(4).getByText("undone by you").waitFor({ state: "hidden" });
  assert.equal(await card(3).getByText("undone by you").isVisible(), false);
  assert.match(await text("public/index.html"), /Cakes/);

  await card(4).getByLabel("More for version 4").click();
  await card(4).getByRole("link", { name: "Copy answer" }).click();
  await eventually("it is copied", async () => (await page.evaluate(() => navigator.clipboard.readText())) === "Here is **Cakes**.");
  await card(4).getByLabel("More for version 4").click();
  await card(4).getByRole("link", { name: "Steps" }).click();
  await card(4).locator(".steps", { hasText: "public/index.html" }).waitFor();
  await card(4).getByRole("link", { name: "Changes" }).click();
  await page.locator("#stage").getByRole("heading", { name: "Version 4" }).waitFor();

  // Deployments are shown on the cards as they happen.
  await done(builder, `/apps/${app}/previews`);
  await page.locator("#stage").getByText("In preview").waitFor({ state: "detached" });
  assertQuiet(page);
});

test("a turn whose edits all failed does not look like a success", { timeout: 60_000 }, async () => {
  page = await openAt(browser, `${builder.origin}/apps/${app}`);
  await page.getByRole("textbox", { name: "Message", exact: true }).fill("broken edit");
  await page.getByRole("button", { name: "Send" }).click();
  const summary = page.locator("details.summary", { hasText: "2 edits failed" });
  await summary.waitFor();
  assert.match(await summary.innerText(), /2 edits failed\s*·?\s*nothing changed/);
  assert.equal(await summary.locator(".mark.warn").count(), 1);
  await summary.locator("summary").click();
  await summary.getByText("Could not edit public/index.html: the text to replace was not found").first().waitFor();
  await shoot(page, "cards failed edits");
  assertQuiet(page);
});

test("without scripts: a version is restored, and a message is edited and sent again", { timeout: 60_000 }, async () => {
  page = await openPage(browser, { javaScriptEnabled: false });
  await page.goto(`${builder.origin}/apps/${app}`);
  await card(2).getByRole("button", { name: "Restore version 2" }).click();
  await page.waitForURL(/#turn-\d+$/);
  assert.equal(await card(3).getByText("undone by you").isVisible(), true);
  assert.match(await text("public/index.html"), /Bread/);
  await card(3).getByLabel("More for version 3").click();
  await card(3).getByRole("button", { name: "Edit and resend" }).click();
  await page.waitForURL(/edit=\d+/);
  assert.equal(await page.locator("#prompt").inputValue(), "Buns");
  assertQuiet(page);
});
