// What people type and press: nothing typed is lost, one press is one request.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { assertQuiet, done, eventually, openAt, openPage, shoot, startBrowser, startBuilder } from "./support.mjs";

let builder;
let browser;
let page;
const site = "paper-boat";
const api = "tide-count";

before(async () => {
  [builder, browser] = await Promise.all([startBuilder(), startBrowser()]);
  await builder.api("POST", "/apps", { name: site, template: "static-site", description: "A site of two pages" });
  await builder.api("PUT", `/apps/${site}/files/public/about.html`, "<!doctype html><title>About</title><p>About us</p>\n");
  await done(builder, `/apps/${site}/previews`);
  await builder.api("POST", "/apps", { name: api, template: "scheduled-job", description: "Counts" });
});
after(async () => {
  await browser?.close();
  await builder?.stop();
});
afterEach(() => page?.context().close());

const open = async (path, options) => (page = await openAt(browser, builder.origin + path, options));
const kept = (text) => page.waitForFunction((text) => Object.values(localStorage).some((value) => value.includes(text)), text);

describe("what is typed", () => {
  test("a message survives a reload, and is forgotten once it was sent", async () => {
    await open(`/apps/${site}`);
    const message = page.getByRole("textbox", { name: "Message" });
    await message.fill("Say when the ferry leaves");
    await kept("ferry");
    await page.reload();
    await eventually("the message is back", async () => (await message.inputValue()) === "Say when the ferry leaves");
    await message.press("Control+Enter");
    await page.locator(".user-message", { hasText: "Say when the ferry leaves" }).waitFor();
    await eventually("nothing is kept", () =>
      page.evaluate(() => !Object.values(localStorage).some((value) => value.includes("ferry"))));
    await page.reload();
    assert.equal(await message.inputValue(), "");
    assertQuiet(page);
  });

  test("a prompt on the first page survives a reload", async () => {
    await open("/");
    const prompt = page.getByRole("textbox", { name: "What do you want to build?" });
    assert.ok(await prompt.evaluate((field) => field === document.activeElement), "the field has the focus");
    await prompt.fill("A list of lighthouses");
    await kept("lighthouses");
    await page.reload();
    await eventually("the prompt is back", async () => (await prompt.inputValue()) === "A list of lighthouses");
    assertQuiet(page);
  });

  test("what is wrong with a new app is shown beside the form, and the prompt stays", async () => {
    await open("/");
    const prompt = page.getByRole("textbox", { name: "What do you want to build?" });
    await prompt.fill("Another boat of paper");
    await page.getByRole("textbox", { name: "Name" }).fill(site);
    await page.getByRole("button", { name: "Create" }).click();
    await page.locator("#create-problem", { hasText: site }).waitFor();
    assert.equal(await prompt.inputValue(), "Another boat of paper");
    await shoot(page, "name is taken");
    page.problems = page.problems.filter((problem) => !/status of 409/.test(problem));
    assertQuiet(page);
  });

  test("another theme loads no page anew", async () => {
    await open(`/apps/${site}`);
    await page.evaluate(() => (window.sameDocument = true));
    await page.getByRole("textbox", { name: "Message" }).fill("Half a sentence");
    const menu = page.getByRole("navigation", { name: "Slipway" }).locator("summary");
    for (const theme of ["light", "dark"]) {
      await menu.click();
      await page.locator("form[action='/theme'] button").click();
      await eventually("the theme has changed", () => page.evaluate(() => document.documentElement.dataset.theme !== undefined));
      void theme;
    }
    assert.ok(await page.evaluate(() => window.sameDocument), "the page was not loaded again");
    assert.equal(await page.getByRole("textbox", { name: "Message" }).inputValue(), "Half a sentence");
    assertQuiet(page);
  });

  test("edits of a file are not left without a question, and are offered after a reload", async () => {
    await open(`/apps/${site}/code/public/about.html?edit=1`);
    const editor = page.locator("#editor");
    await page.locator(".cm-content").fill("<p>Not saved yet</p>");
    const asked = [];
    page.on("dialog", (dialog) => {
      asked.push(dialog.type());
      return dialog.type() === "beforeunload" ? dialog.accept() : dialog.dismiss();
    });
    await page.getByRole("navigation", { name: "Parts of the app" }).getByText("Versions").click();
    await eventually("it asks", () => asked.includes("confirm"));
    assert.equal(await editor.inputValue(), "<p>Not saved yet</p>", "the answer was no");
    await kept("Not saved yet");
    await page.reload();
    await page.getByText("You have unsaved changes to this file").waitFor();
    await page.getByRole("button", { name: "Use them" }).click();
    assert.equal(await editor.inputValue(), "<p>Not saved yet</p>");
    await shoot(page, "unsaved edits");
    await page.getByRole("button", { name: "Save and close" }).click();
    await page.locator(".source").waitFor();
    assert.equal(await page.getByRole("navigation", { name: "Parts of the app" }).locator("[aria-current]").innerText(), "Code");
  });
});

describe("what is pressed", () => {
  test("a double click deploys once", async () => {
    await builder.api("PUT", `/apps/${site}/files/public/about.html`, "<!doctype html><title>About</title><p>Once</p>\n");
    const before = (await builder.api("GET", `/apps/${site}/releases`)).releases.length;
    await open(`/apps/${site}`);
    await page.getByRole("banner").getByRole("button", { name: /Deploy preview/ }).dblclick();
    await eventually("the release is there", async () =>
      (await builder.api("GET", `/apps/${site}`)).environments.preview.state === "ready" &&
      (await builder.api("GET", `/apps/${site}/releases`)).releases.length > before);
    assert.equal((await builder.api("GET", `/apps/${site}/releases`)).releases.length, before + 1);
    assertQuiet(page);
  });

  test("a double click publishes once, and rolling back does not propose what was left", async () => {
    await done(builder, `/apps/${site}/publish`);
    await builder.api("PUT", `/apps/${site}/files/public/about.html`, "<!doctype html><title>About</title><p>Broken</p>\n");
    await done(builder, `/apps/${site}/previews`);
    const { releases } = await builder.api("GET", `/apps/${site}/releases?environment=prod`);
    await open(`/apps/${site}`);
    const bar = page.getByRole("banner");
    await bar.getByRole("button", { name: /^Publish version/ }).dblclick();
    await bar.getByText("Up to date").waitFor();
    const after = (await builder.api("GET", `/apps/${site}/releases?environment=prod`)).releases;
    assert.equal(after.length, releases.length + 1);
    await bar.locator("summary[aria-label='More actions']").click();
    await bar.getByRole("button", { name: /^Roll back to version/ }).click();
    await bar.getByText(/^Rolled back to version/).waitFor();
    assert.equal(await bar.getByRole("button", { name: /^Publish version \d+$/ }).count(), 0, "the way forward is in the menu");
    await shoot(page, "rolled back");
    assertQuiet(page);
  });

  test("a menu closes when the focus goes elsewhere", async () => {
    await open(`/apps/${site}`);
    const menu = page.getByRole("navigation", { name: "Slipway" }).locator("details.menu");
    await menu.locator("summary").click();
    assert.ok(await menu.evaluate((menu) => menu.open));
    await page.getByRole("textbox", { name: "Message" }).focus();
    await eventually("it is closed", () => menu.evaluate((menu) => !menu.open));
  });

  test("copying works where the page may not use the clipboard", async () => {
    await open(`/apps/${site}/settings`);
    await page.evaluate(() => Object.defineProperty(navigator, "clipboard", { value: undefined }));
    await page.evaluate(() => {
      document.addEventListener("copy", () => (window.copied = String(document.getSelection()) || document.activeElement.value));
      const button = document.createElement("button");
      button.dataset.copy = "words to copy";
      button.id = "copy-here";
      document.querySelector("main").append(button);
      button.click();
    });
    await page.getByText("Copied").waitFor();
    assert.equal(await page.evaluate(() => window.copied), "words to copy");
  });
});

describe("a long conversation", () => {
  test("earlier messages are shown once, and the reader stays in place", async () => {
    const long = "long-talk";
    await builder.api("POST", "/apps", { name: long, template: "static-site", description: "A page" });
    for (let turn = 1; turn <= 14; turn++) {
      await done(builder, `/apps/${long}/turns`, { prompt: `Change the title to Number ${turn}` });
    }
    await open(`/apps/${long}`);
    const messages = page.locator("#turns > li");
    await eventually("twelve are shown", async () => (await messages.count()) === 12);
    const id = await messages.first().getAttribute("id");
    const top = () => page.locator(`#${id}`).evaluate((element) => element.getBoundingClientRect().top);
    await page.locator("#earlier a").scrollIntoViewIfNeeded();
    const before = await top();
    await page.locator("#earlier a").click();
    await eventually("all are shown", async () => (await messages.count()) === 14);
    await eventually("there are no more", async () => (await page.locator("#earlier").count()) === 0);
    const ids = await messages.evaluateAll((all) => all.map((element) => element.id));
    assert.equal(new Set(ids).size, 14, "each is there once");
    assert.ok(Math.abs((await top()) - before) < 80, `it moved from ${before} to ${await top()}`);
    assertQuiet(page);
  });
});

describe("a line that breaks", () => {
  test("a script that does not arrive is loaded again", async () => {
    page = await openPage(browser);
    let lost = 0;
    await page.route("**/built/workbench.js", (route) => (lost++ === 0 ? route.abort("connectionreset") : route.continue()));
    await page.goto(`${builder.origin}/apps/${site}`);
    await page.waitForFunction(() => document.documentElement.classList.contains("scripts"));
    assert.ok(lost >= 2, "it was asked for again");
    await page.waitForFunction(() => Boolean(window.htmx));
  });

  test("a page whose script never arrives says so", async () => {
    page = await openPage(browser);
    await page.route("**/built/workbench.js", (route) => route.abort("connectionreset"));
    await page.goto(`${builder.origin}/apps/${site}`);
    await page.getByText("This page did not load completely.").waitFor();
    await shoot(page, "page without its script");
    await page.unroute("**/built/workbench.js");
    await page.locator("#incomplete button").click();
    await page.waitForFunction(() => document.documentElement.classList.contains("scripts"));
  });
});
