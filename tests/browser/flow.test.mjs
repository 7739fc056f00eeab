// The whole flow of a user: describe, watch, preview, publish, change, publish again, roll back, delete. With the demo
// model, a real engine and a real browser.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { assertQuiet, chip, eventually, openPage, PATIENCE, publish, publishStep, shoot, startBrowser, startBuilder } from "./support.mjs";

let builder;
let browser;
before(async () => {
  // Slow enough to observe the progress.
  [builder, browser] = await Promise.all([startBuilder({ SLIPWAY_DEMO_PACE: "0.5" }), startBrowser()]);
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

/** Describes an app on the front page and creates it. */
async function create(words, template, name) {
  await page.goto(builder.origin);
  await page.getByRole("textbox", { name: "What do you want to build?" }).fill(words);
  await page.getByRole("radio", { name: template }).check({ force: true });
  await page.getByRole("textbox", { name: "Name", exact: true }).fill(name);
  await page.getByRole("button", { name: "Create" }).click();
  await page.waitForURL(`${builder.origin}/apps/${name}`);
}

const stop = () => page.getByRole("button", { name: "Stop" });
const send = () => page.getByRole("button", { name: "Send" });
const bar = () => page.getByRole("banner");

async function turnEnds() {
  await send().waitFor({ timeout: PATIENCE });
  await stop().waitFor({ state: "hidden" });
}

async function say(words) {
  await page.getByRole("textbox", { name: "Message", exact: true }).fill(words);
  await send().click();
  await page.locator(".user-message", { hasText: words }).waitFor();
  await turnEnds();
}

/** Presses the one primary button and waits for the chip. */
async function press(words, title) {
  const shown = await bar().locator(".chip", { hasText: title }).innerText();
  if (words === "Publish") await publish(page);
  else await bar().getByRole("button", { name: words }).first().click();
  await page.locator("#strip .strip").waitFor();
  await eventually(`${title} is ready anew`, async () => {
    const failure = page.locator("#trouble .failure");
    if (await failure.count()) assert.fail(await failure.innerText());
    const now = await bar().locator(".chip", { hasText: title }).innerText();
    return /ready/.test(now) && now !== shown;
  });
}

/** After a turn the preview follows by itself; then the next step is to publish it. */
async function previewFollows() {
  await publishStep(page).waitFor({ timeout: PATIENCE });
  const checks = page.locator("#strip .checks");
  assert.match(await checks.locator("summary").innerText(), /^\d+ checks? passed/);
}

/** What an address shows to somebody else. */
async function elsewhere(url, words) {
  const visitor = await openPage(browser);
  await visitor.goto(url);
  await visitor.getByText(words).first().waitFor();
  const text = await visitor.locator("body").innerText();
  await visitor.context().close();
  return text;
}

describe("a static site", () => {
  test("from the first words to a roll back", { timeout: 240_000 }, async () => {
    page = await openPage(browser);
    const name = "tide-table";
    await create("Tide table for small boats", "Static site", name);

    // During generation: the message, the file's name, its code as it arrives, and the stop button.
    await page.locator(".user-message", { hasText: "Tide table for small boats" }).waitFor();
    await stop().waitFor();
    const turn = page.getByRole("region", { name: "Conversation" });
    await turn.getByText("public/index.html").first().waitFor();
    await page.locator(".blocks pre", { hasText: "<!doctype html>" }).first().waitFor();
    const code = page.locator('[data-path="public/style.css"] pre').first();
    await code.waitFor({ state: "attached" });
    const early = (await code.textContent()).length;
    await eventually("the code grows while it is typed", async () => (await code.textContent()).length > early + 40);
    // The draft updates after each finished file, before the turn has ended.
    const draft = page.frameLocator("#stage iframe:not(.next)");
    await draft.getByRole("heading", { name: "Tide table for small boats" }).waitFor();
    assert.ok(await stop().isVisible(), "the draft shows it while the turn still runs");
    await shoot(page, "site 1 writing");
    await turnEnds();
    await turn.locator(".version-card .file-change").nth(4).waitFor();
    await shoot(page, "site 2 written");

    // Preview follows: the steps with their times, the checks with their evidence, and the app in the frame.
    await previewFollows();
    await page.locator("#strip .checks summary").click();
    await page.locator("#strip .checks li", { hasText: "GET /style.css" }).waitFor();
    await shoot(page, "site 3 preview ready");
    await page.keyboard.press("Escape");
    await page.getByRole("group", { name: "Environment" }).getByRole("link", { name: "Preview" }).click();
    await page.frameLocator(`#stage iframe:not(.next)[src^="${builder.host(`${name}-preview`)}"]`).getByRole("heading", { name: "Tide table" }).waitFor();

    // Publish.
    await press("Publish", "Production");
    await elsewhere(builder.host(name), "Tide table for small boats");
    await bar().getByText("Up to date").waitFor();

    // Change, and publish again.
    await say("Add a list of new moon, first quarter and full moon");
    await previewFollows();
    assert.ok(!(await elsewhere(builder.host(name), "Tide table")).includes("First quarter"), "not yet published");
    await press("Publish", "Production");
    await elsewhere(builder.host(name), "First quarter");
    await shoot(page, "site 4 published again");

    // Roll back to the first.
    await page.getByRole("navigation", { name: "Parts of the app" }).getByRole("link", { name: "Releases" }).click();
    await shoot(page, "site 5 releases");
    await page.getByRole("button", { name: /Roll back to this.*Production, release 1/ }).click();
    await eventually("production shows the first again", async () =>
      !(await elsewhere(builder.host(name), "Tide table")).includes("First quarter"));
    await page.locator("#releases").getByText("rolled back to release 1").waitFor();
    await shoot(page, "site 6 rolled back");

    // Every tab opens.
    for (const tab of ["Code", "Versions", "Logs", "Settings", "Preview"]) {
      await page.getByRole("navigation", { name: "Parts of the app" }).getByRole("link", { name: tab }).click();
      await page.locator(`.tabs a[aria-current="page"]`, { hasText: tab }).waitFor();
      await shoot(page, `site 7 tab ${tab}`);
    }

    // Delete, which asks for the name.
    await page.getByRole("navigation", { name: "Parts of the app" }).getByRole("link", { name: "Settings" }).click();
    const confirmation = page.getByLabel(`Type ${name} to confirm`);
    await confirmation.fill("tide");
    await page.getByRole("button", { name: `Delete ${name}` }).click();
    await page.locator("#delete-problem, #notices .bad").first().waitFor();
    await page.getByLabel(`Type ${name} to confirm`).fill(name);
    await page.getByRole("button", { name: `Delete ${name}` }).click();
    await page.waitForURL(`${builder.origin}/`);
    await eventually("it is gone", async () => {
      await page.reload();
      return (await page.getByRole("link", { name, exact: true }).count()) === 0;
    });
    // A rejected confirmation has a 4xx status, which Chromium logs on its console.
    page.problems = page.problems.filter((problem) => !problem.includes("422") && !problem.includes("400"));
    assertQuiet(page);
  });
});

describe("an API", () => {
  test("written, tried, published", { timeout: 240_000 }, async () => {
    page = await openPage(browser);
    const name = "buoy-count";
    await create("An API that counts buoys", "Simple API", name);
    await page.locator(".blocks pre", { hasText: "FastAPI" }).first().waitFor();
    await turnEnds();
    await previewFollows();
    await page.getByRole("group", { name: "Environment" }).getByRole("link", { name: "Preview" }).click();
    // Its endpoints, with a form to try each.
    const endpoints = page.getByRole("region", { name: "Endpoints" });
    const items = endpoints.locator("details", { has: page.locator("summary", { hasText: /POST.*\/items/ }) });
    await items.locator("summary").first().click();
    await items.getByLabel("Body (JSON)").fill('{"name": "green buoy"}');
    await items.getByRole("button", { name: "Try" }).click();
    await items.locator(".answer").getByText("201").first().waitFor();
    await items.locator(".answer pre").first().getByText("green buoy").waitFor();
    await shoot(page, "api 1 tried");
    await press("Publish", "Production");
    await elsewhere(`${builder.host(name)}/health`, /"status":\s*"ok"/);
    await shoot(page, "api 2 published");
    assertQuiet(page);
  });

  test("a build that fails says why, and the running version is named", { timeout: 240_000 }, async () => {
    page = await openPage(browser);
    const name = "leaky-boat";
    await builder.api("POST", "/apps", { description: "Leaks", template: "simple-api", name });
    await page.goto(`${builder.origin}/apps/${name}`);
    await press("Deploy preview", "Preview");
    await builder.api("PUT", `/apps/${name}/files/requirements.txt`, "no-such-package-of-ours==99.99\n");
    await page.reload();
    await bar().getByRole("button", { name: "Deploy preview" }).first().click();
    const failure = page.locator("#trouble .failure");
    await failure.waitFor({ timeout: PATIENCE });
    await failure.getByText("no-such-package-of-ours").first().waitFor();
    await failure.getByText("pip could not find").waitFor();
    for (const way of ["Fix it", "Edit requirements.txt", "Log"]) {
      await failure.getByText(way, { exact: true }).waitFor();
    }
    await chip(page, "Preview", "ready").waitFor();
    await shoot(page, "api 3 failure");
    await failure.getByRole("button", { name: "Fix it" }).click();
    await page.locator(".turn .user-message").getByText("could not be deployed. Find the cause and fix it.").waitFor();
    await page.getByText("Also sent to the model").last().click();
    await page.locator(".turn .words").getByText("no-such-package-of-ours").first().waitFor();
    assertQuiet(page);
  });
});
