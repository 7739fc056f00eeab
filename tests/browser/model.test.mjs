// Attachments of a message and the choice of the model: the composer's files and the form in an app's settings,
// with and without scripts.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";
import { assertAccessible, assertQuiet, eventually, openPage, shoot, startBrowser, startBuilder } from "./support.mjs";

let builder;
let browser;
let page;
const app = "clip-board";
const gif = Buffer.from("R0lGODlhAwACAIAAAAAAAP///ywAAAAAAwACAAACAwxMAQA7", "base64");
const image = { name: "sketch.gif", mimeType: "image/gif", buffer: gif };

before(async () => {
  [builder, browser] = await Promise.all([startBuilder(), startBrowser()]);
  await builder.api("POST", "/apps", { name: app, template: "static-site", description: "Takes files" });
});
after(async () => {
  await browser?.close();
  await builder?.stop();
});
afterEach(async () => {
  await page?.context().close();
});

const turns = async () => (await builder.api("GET", `/apps/${app}/turns`)).turns;
const names = async () => (await turns())[0]?.attachments.map(({ name }) => name);

test("files are chosen, pasted and dropped, taken back, sent and shown", async () => {
  page = await openPage(browser);
  await page.goto(`${builder.origin}/apps/${app}`);
  await page.setInputFiles("#files", [{ name: "one.txt", mimeType: "text/plain", buffer: Buffer.from("1") }, image]);
  await page.evaluate(() => {
    const files = (name, words) => {
      const data = new DataTransfer();
      data.items.add(new File([words], name, { type: "text/plain" }));
      return data;
    };
    const happens = { bubbles: true, cancelable: true };
    const pasted = new ClipboardEvent("paste", { clipboardData: files("pasted.md", "# Pasted"), ...happens });
    document.querySelector("#prompt").dispatchEvent(pasted);
    const dropped = new DragEvent("drop", { dataTransfer: files("dropped.csv", "a,b"), ...happens });
    document.querySelector("#composer").dispatchEvent(dropped);
  });
  const chosen = page.locator("#chosen-files li");
  assert.equal(await chosen.count(), 4);
  await assertAccessible(page, "a composer with files");
  await shoot(page, "composer-files");
  await page.getByRole("button", { name: "Do not send one.txt" }).click();
  assert.equal(await chosen.count(), 3);

  await page.fill("#prompt", "Like the sketch");
  await page.keyboard.press("Control+Enter");
  const sent = page.locator(".turn .attached");
  await sent.locator("img[alt='sketch.gif']").waitFor();
  assert.deepEqual(await names(), ["sketch.gif", "pasted.md", "dropped.csv"]);
  await eventually("the image is loaded", () => sent.locator("img").evaluate((img) => img.complete && img.naturalWidth === 3));
  assert.equal(await chosen.count(), 0, "what was sent is not sent again");
  await page.reload();
  assert.match(await sent.innerText(), /pasted\.md[^]*dropped\.csv/);
  await assertAccessible(page, "a conversation with files");
  assertQuiet(page);
});

test("without scripts a form takes the files", async () => {
  page = await openPage(browser, { javaScriptEnabled: false });
  await page.goto(`${builder.origin}/apps/${app}`);
  await page.setInputFiles("#files", [image]);
  await page.fill("#prompt", "Once more, without scripts");
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.locator(".attached img[alt='sketch.gif']").last().waitFor();
  assert.deepEqual(await names(), ["sketch.gif"]);
});

test("what cannot be attached is said, and the message stays", async () => {
  page = await openPage(browser);
  await page.goto(`${builder.origin}/apps/${app}`);
  const before = (await turns()).length;
  await page.setInputFiles("#files", [{ name: "x.pdf", mimeType: "application/pdf", buffer: Buffer.from([37, 80, 68, 70, 255]) }]);
  await page.fill("#prompt", "Read this");
  await page.getByRole("button", { name: "Send", exact: true }).click();
  await page.getByText("“x.pdf” cannot be attached").waitFor();
  assert.equal(await page.inputValue("#prompt"), "Read this");
  assert.equal(await page.locator("#chosen-files li").count(), 1);
  assert.equal((await turns()).length, before);
});

test("an app's model is chosen in its settings, with and without scripts", async () => {
  for (const javaScriptEnabled of [true, false]) {
    page = await openPage(browser, { javaScriptEnabled });
    await page.goto(`${builder.origin}/apps/${app}/settings`);
    await page.getByRole("textbox", { name: "Model" }).or(page.getByRole("combobox", { name: "Model" })).fill(javaScriptEnabled ? "claude-sonnet-5-5" : "");
    await page.getByLabel("Effort").selectOption(javaScriptEnabled ? "low" : "");
    await page.getByRole("button", { name: "Use this model" }).click();
    if (javaScriptEnabled) {
      await page.getByText("Saved.").waitFor();
      await assertAccessible(page, "settings");
      await shoot(page, "app-settings-model");
    } else {
      await page.waitForURL(/settings#model$/);
    }
    const chosen = await builder.api("GET", `/apps/${app}/model`);
    assert.deepEqual([chosen.model, chosen.effort], javaScriptEnabled ? ["claude-sonnet-5-5", "low"] : [null, null]);
    assertQuiet(page);
    await page.context().close();
  }
  page = undefined;
});
