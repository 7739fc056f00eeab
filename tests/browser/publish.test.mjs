// Publishing: it asks where it matters, says what came of it, and can be undone at once.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { assertAccessible, assertQuiet, done, eventually, openPage, PATIENCE, shoot, startBrowser, startBuilder } from "./support.mjs";

let builder;
let browser;
before(async () => {
  [builder, browser] = await Promise.all([startBuilder(), startBrowser()]);
});
after(async () => {
  await browser?.close();
  await builder?.stop();
});

let page;
afterEach(async ({ name }) => {
  await shoot(page, `last ${name}`).catch(() => {});
  await page.context().close();
});

/** A site with a version in preview. */
async function site(name, words) {
  await builder.api("POST", "/apps", { description: "A bakery", template: "static-site", name });
  await write(name, words);
}
async function write(name, words) {
  await builder.api("PUT", `/apps/${name}/files/public/index.html`, `<!doctype html><title>Crumb</title><h1>${words}</h1>\n`);
  await done(builder, `/apps/${name}/previews`);
}
const next = () => page.locator("#next");
const ask = () => next().locator(".confirm > summary").first();
const strip = () => page.locator("#strip .strip");
const releases = async (name) => (await builder.api("GET", `/apps/${name}/releases?environment=prod`)).releases;

describe("publishing", () => {
  test("the first time it asks in place: Escape and Cancel close it, Enter confirms", { timeout: 180_000 }, async () => {
    page = await openPage(browser, { permissions: ["clipboard-read", "clipboard-write"] });
    const name = "crumb";
    await site(name, "Crumb");
    await page.goto(`${builder.origin}/apps/${name}`);
    const confirm = next().locator(".confirm form button");

    await ask().click();
    await next().getByText(`Publish to ${name}.localhost:${builder.port}?`).waitFor();
    await assertAccessible(page, "a question before publishing");
    await shoot(page, "publish 1 asked");
    await eventually("the answer has the focus", () => confirm.evaluate((button) => button === document.activeElement));
    await page.keyboard.press("Escape");
    await confirm.waitFor({ state: "hidden" });
    assert.equal(await ask().evaluate((summary) => summary === document.activeElement), true, "the focus is back");

    await ask().click();
    assert.equal((await ask().innerText()).trim(), "Cancel");
    await ask().click();
    await confirm.waitFor({ state: "hidden" });
    assert.deepEqual(await releases(name), [], "nothing was published");

    await ask().click();
    await eventually("the answer has the focus", () => confirm.evaluate((button) => button === document.activeElement));
    await page.keyboard.press("Enter");
    await strip().getByText("Version 2 is live").waitFor({ timeout: PATIENCE });
    await next().getByText("Up to date").waitFor();

    // What came of it: the address, to copy, to open, for a phone. Nothing to undo yet.
    const url = builder.host(name);
    await strip().getByRole("link", { name: `${name}.localhost:${builder.port}` }).waitFor();
    await strip().getByRole("button", { name: "Copy link" }).click();
    assert.equal((await page.evaluate(() => navigator.clipboard.readText())).replace(/\/$/, ""), url);
    await strip().locator(".qr > summary").click();
    const image = strip().getByRole("img", { name: /QR code of/ });
    await eventually("the code is there", () => image.evaluate((img) => img.complete && img.naturalWidth > 100));
    await assertAccessible(page, "the result of a publish");
    await shoot(page, "publish 2 live");
    await page.keyboard.press("Escape");
    assert.equal(await strip().getByRole("button", { name: "Undo" }).count(), 0);
    assertQuiet(page);
  });

  test("a small change does not ask, a large one does; Undo brings the one before back at once", { timeout: 180_000 }, async () => {
    page = await openPage(browser);
    const name = "crust";
    await site(name, Array.from({ length: 30 }, (_, n) => `line ${n}`).join("\n"));
    await done(builder, `/apps/${name}/publish`);
    await write(name, Array.from({ length: 30 }, (_, n) => `line ${n === 3 ? "three" : n}`).join("\n"));
    await page.goto(`${builder.origin}/apps/${name}`);
    await next().getByRole("button", { name: "Publish version 3" }).click();
    await strip().getByText("Version 3 is live").waitFor({ timeout: PATIENCE });

    // The release before waits, and goes on without a start.
    await strip().getByRole("button", { name: "Undo" }).click();
    await strip().getByText("Rolled back: version 2 is live").waitFor({ timeout: PATIENCE });
    await next().getByText("Rolled back to version 2").waitFor();
    const [undone] = await releases(name);
    assert.deepEqual([undone.number, undone.rolled_back, undone.from_release], [3, true, 1]);
    const job = await builder.api("GET", `/jobs/${undone.job}`);
    assert.equal(job.steps[0].state, "skipped", JSON.stringify(job.steps));

    // And Undo of that is the newer one again.
    await strip().getByRole("button", { name: "Undo" }).click();
    await strip().getByText("Rolled back: version 3 is live").waitFor({ timeout: PATIENCE });

    await write(name, Array.from({ length: 200 }, (_, n) => `other words ${n}`).join("\n"));
    await ask().waitFor({ timeout: PATIENCE });
    assert.equal((await ask().innerText()).trim(), "Publish version 4");
    await ask().click();
    await next().getByText(/\d+ lines added or removed/).waitFor();
    await shoot(page, "publish 3 large");

    // A release has a page: its title, author, checks and log; an earlier one of preview can be published there.
    await page.goto(`${builder.origin}/apps/${name}/releases`);
    await page.locator("#releases section").last().getByRole("link", { name: /^Version 4/ }).click();
    const stage = page.locator("#stage");
    await stage.getByRole("heading", { name: "Preview release 3" }).waitFor();
    await stage.getByText(/Requested by you/).waitFor();
    await stage.getByRole("region", { name: "Log of the deployment" }).waitFor();
    await shoot(page, "release");
    await assertAccessible(page, "a release");
    await stage.getByText("Publish this version").click();
    await stage.getByText("Put version 4 into production?").waitFor();
    await stage.getByRole("button", { name: "Publish", exact: true }).click();
    await strip().getByText("Version 4 is live").waitFor({ timeout: PATIENCE });
    assertQuiet(page);
  });

  test("on a narrow screen, in the dark and without scripts", { timeout: 180_000 }, async () => {
    page = await openPage(browser, { javaScriptEnabled: false, viewport: { width: 390, height: 844 }, colorScheme: "dark" });
    const name = "rye";
    await site(name, "Rye");
    await page.goto(`${builder.origin}/apps/${name}`);
    await ask().click();
    const question = next().locator(".confirm form");
    await question.getByText("Publish to").waitFor();
    await shoot(page, "publish 4 narrow");
    const box = await question.boundingBox();
    assert.ok(box.x >= 0 && box.x + box.width <= 390, JSON.stringify(box));
    await question.getByRole("button", { name: "Publish" }).click();
    await eventually("it is live", async () => {
      // The form's own page may still be loading.
      await page.waitForLoadState();
      await page.reload();
      return (await strip().getByText("Version 2 is live").count()) > 0;
    });
    await shoot(page, "publish 5 narrow");
    const wide = await strip().boundingBox();
    assert.ok(wide.width <= 390 && wide.height <= 44, JSON.stringify(wide));
  });
});
