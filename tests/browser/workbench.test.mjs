// What a page offers for an app without pages of its own: calls to an API, calls of a webhook, runs of a job.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { after, afterEach, before, describe, test } from "node:test";
import { PATIENCE, assertAccessible, assertQuiet, done, eventually, openAt, shoot, startBrowser, startBuilder } from "./support.mjs";

let builder;
let browser;
let page;
const api = "tide-table";
const hook = "quick-heron";
const job = "daily-heron";
const program = `"""Tides."""
from enum import Enum

from fastapi import FastAPI, Header
from pydantic import BaseModel, Field

app = FastAPI()


class Unit(str, Enum):
    metres = "metres"
    feet = "feet"


class Tide(BaseModel):
    time: str = Field(examples=["it's 12:00"])
    height: float = 3.2
    notes: list[str] = ["a"]


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}


@app.put("/tides/{harbour}")
def change(harbour: str, tide: Tide, unit: Unit = Unit.metres, x_sender: str = Header(default="me")) -> dict:
    """Change the tide of a harbour.

    Heights are above chart datum.
    """
    return {"z": harbour, "a": tide.time, "unit": unit, "sender": x_sender}
`;

before(async () => {
  [builder, browser] = await Promise.all([startBuilder(), startBrowser()]);
  for (const [name, template] of [[api, "simple-api"], [hook, "webhook"], [job, "scheduled-job"]]) {
    await builder.api("POST", "/apps", { name, template, description: "For tests" });
  }
  await builder.api("PUT", `/apps/${api}/files/main.py`, program);
  await builder.api("PUT", `/apps/${job}/files/app.toml`, 'schedule = "0 7 * * *"\ntimezone = "Europe/Berlin"\n');
  for (const name of [api, hook, job]) await done(builder, `/apps/${name}/previews`);
  await done(builder, `/apps/${job}/publish`);
});
after(async () => {
  await browser?.close();
  await builder?.stop();
});
afterEach(() => page?.context().close());

const open = async (path, options) => {
  page = await openAt(browser, builder.origin + path, options);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"], { origin: builder.origin });
};
/** What was copied last, run as in a terminal. */
async function runCopied(button) {
  await page.evaluate(() => navigator.clipboard.writeText(""));
  await button.click();
  const command = await eventually("it is copied", () => page.evaluate(() => navigator.clipboard.readText()));
  assert.match(command, /^curl /);
  return (await promisify(execFile)("sh", ["-c", command])).stdout;
}
/** The page at both widths, light and dark. */
async function shootAll(name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const width of [1440, 390]) {
      await page.setViewportSize({ width, height: 1000 });
      await shoot(page, `workbench ${name} ${colorScheme} ${width}`);
    }
  }
  await page.setViewportSize({ width: 1280, height: 800 });
}
/** The stage is what a narrow screen shows. */
const showStage = () => page.locator("#pane-stage").evaluate((radio) => (radio.checked = true)).catch(() => {});

describe("an API", () => {
  const form = () => page.locator(".endpoints > details", { hasText: "/tides/{harbour}" }).first();
  const recent = () => page.locator("[data-recent] .endpoints > details");
  const call = async (harbour) => {
    await form().getByLabel("harbour path").fill(harbour);
    await form().getByRole("button", { name: "Try" }).click();
    await form().locator(".try-answer .answer pre", { hasText: harbour }).first().waitFor();
  };

  test("a form for each endpoint, a command that does the same, and answers that stay", { timeout: 3 * PATIENCE }, async () => {
    await open(`/apps/${api}?view=preview`);
    await form().locator("summary").first().click();
    await form().getByText("Heights are above chart datum.").waitFor();
    assert.equal(await form().getByLabel(/^x-sender header/).inputValue(), "me");
    assert.deepEqual(await form().getByLabel(/^unit query/).locator("option").allTextContents(), ["", "metres", "feet"]);
    const body = await form().getByLabel("Body (JSON)").inputValue();
    assert.equal(body, JSON.stringify({ time: "it's 12:00", height: 3.2, notes: ["a"] }, null, 2), "in the order of the app");

    // A part of the path that is missing is asked for, and nothing is sent.
    await form().getByRole("button", { name: "Try" }).click();
    assert.ok(await form().getByLabel("harbour path").evaluate((field) => field.matches(":focus:invalid")));
    assert.equal(await page.locator(".try-answer .answer").count(), 0);

    await form().getByLabel(/^unit query/).selectOption("feet");
    await call("Alte Liebe");
    assert.match(await form().locator(".answer .end").first().textContent(), /ms · \d+ B/);
    const answer = JSON.parse(await form().locator(".answer pre").first().textContent());
    assert.deepEqual(Object.entries(answer), [["z", "Alte Liebe"], ["a", "it's 12:00"], ["unit", "feet"], ["sender", "me"]]);
    const copied = await runCopied(form().getByRole("button", { name: "Copy as curl" }));
    assert.match(copied, /^HTTP\/1.1 200/);
    assert.deepEqual(JSON.parse(copied.split("\r\n\r\n")[1]), answer, "the command sends the same call");
    await assertAccessible(page, "an API with a command");

    for (const harbour of ["one", "two", "three", "four", "five"]) await call(harbour);
    await eventually("five are kept", async () => (await recent().count()) === 5);
    assert.match(await recent().first().textContent(), /PUT \/tides\/five\?unit=feet/);
    await showStage();
    await recent().first().locator("summary").first().click();
    await shootAll("api");

    await builder.api("PUT", `/apps/${api}/files/main.py`, `${program}\n# Once more.\n`);
    await done(builder, `/apps/${api}/previews`);
    await page.reload();
    await recent().nth(4).waitFor();
    await recent().last().locator("summary").first().click();
    await recent().last().locator("pre", { hasText: '"z": "one"' }).waitFor();
    await page.getByRole("button", { name: "Clear" }).click();
    await page.locator("[data-recent]").waitFor({ state: "hidden" });
    assertQuiet(page);
  });
});

describe("a webhook", () => {
  const calls = () => page.locator("#calls details.call");

  test("calls from elsewhere and from the page, sent again, and a new secret", { timeout: 3 * PATIENCE }, async () => {
    await open(`/apps/${hook}?view=preview`);
    await page.getByText("Only this machine can reach this address.").waitFor();
    await page.getByText("No calls were received in preview").waitFor();
    await showStage();
    await shootAll("webhook without calls");

    await page.getByRole("link", { name: "GitHub", exact: true }).click();
    const body = page.getByLabel("Body", { exact: true });
    await eventually("its body is shown", async () => (await body.inputValue()).includes("refs/heads/main"));
    await page.getByRole("button", { name: "Send a signed call" }).click();
    await page.locator("form .answer .tag", { hasText: "200" }).first().waitFor();
    await calls().first().getByText("signature accepted, sent from this page").waitFor();

    // From a terminal: unsigned, and with the command that the page offers.
    const forged = await promisify(execFile)("curl", ["--silent", "--include", "--data", '{"type":"forged"}', `${builder.host(`${hook}-preview`)}/webhook`]);
    assert.match(forged.stdout, /^HTTP\/1.1 401/);
    const curl = page.getByRole("button", { name: "Copy as curl" });
    assert.match(await runCopied(curl), /^HTTP\/1.1 200/);
    await page.getByRole("link", { name: "Reload" }).click();
    await calls().nth(2).waitFor();
    await calls().nth(1).getByText("signature refused").waitFor();
    await calls().first().locator("summary").first().click();
    await calls().first().getByText("x-github-event: push").waitFor({ state: "attached" });
    await calls().first().getByRole("button", { name: "Send again to preview" }).click();
    await calls().first().locator(".try-answer .tag", { hasText: "200" }).waitFor();
    await assertAccessible(page, "a webhook with calls");
    await shootAll("webhook with calls");

    // The old secret ends with the deployment that brings the new one.
    const secret = () => page.evaluate(async (path) => (await fetch(path)).text(), `/apps/${hook}/webhook-secret?environment=preview`);
    const old = await secret();
    const stale = await page.evaluate(() => navigator.clipboard.readText());
    await page.getByText("Rotate secret").click();
    await page.getByRole("button", { name: "Rotate the secret of preview" }).click();
    await eventually("there is a new one", async () => (await secret()) !== old);
    await eventually("the old one is refused", async () =>
      (await promisify(execFile)("sh", ["-c", stale]).catch(() => ({ stdout: "" }))).stdout.startsWith("HTTP/1.1 401"));
    await page.reload();
    assert.match(await runCopied(curl), /^HTTP\/1.1 200/);
    assertQuiet(page);
  });
});

describe("a scheduled job", () => {
  test("its next runs on the reader's clock, and how long runs took", { timeout: 2 * PATIENCE }, async () => {
    await open(`/apps/${job}?view=prod`, { timezoneId: "America/New_York", locale: "en-GB" });
    await page.getByText("Every day at 07:00 (Europe/Berlin)").waitFor();
    const next = page.locator("dd", { has: page.locator("[data-ahead]") });
    await eventually("it is on the reader's clock", async () => /(today|tomorrow) 0[12]:00 your time/.test(await next.first().textContent()));
    assert.match(await next.first().textContent(), /in \d+ (h|min)/);
    assert.match(await next.first().textContent(), /0[56]:00 UTC/);
    await page.getByRole("button", { name: "Run now" }).click();
    await page.getByText("Last runs took").waitFor({ timeout: PATIENCE });
    await showStage();
    await shootAll("job");

    assertQuiet(page);
  });
});
