// Shared by the browser tests: the real binary with its own data directory, a real Chromium, and pages on which every
// error (console, policy, failed request) fails the test.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { closeSync, copyFileSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { expose, insideOf } from "./network.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "../..");
const axeSource = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Where screenshots go: for looking at, ignored by git. */
export const shots = join(root, "target/screenshots");
mkdirSync(shots, { recursive: true });

/** How long anything that builds or starts containers may take, in milliseconds. */
export const PATIENCE = 90_000;

/** Waits until `holds` answers something true; fails with `what` after `limit` milliseconds. */
export async function eventually(what, holds, limit = PATIENCE) {
  const deadline = Date.now() + limit;
  for (;;) {
    const value = await holds();
    if (value) return value;
    assert.ok(Date.now() < deadline, `not within ${limit} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** A running builder; `stop` ends it and removes everything it made in the engine. */
export async function startBuilder(settings = {}) {
  const folder = mkdtempSync(join(tmpdir(), "slipway-browser-"));
  const data = join(folder, "data");
  const log = join(folder, "log");
  const output = openSync(log, "a");
  const port = await freePort();
  const origin = `http://builder.localhost:${port}`;
  const { ANTHROPIC_API_KEY, SLIPWAY_ADMIN_PASSWORD, ...environment } = process.env;
  const child = spawn(resolve(root, process.env.SLIPWAY_BIN ?? "target/debug/slipway"), ["serve"], {
    cwd: folder,
    env: {
      ...environment,
      SLIPWAY_DATA_DIR: data,
      SLIPWAY_LISTEN: `127.0.0.1:${port}`,
      SLIPWAY_DEMO_PACE: "0",
      ...settings,
    },
    stdio: ["ignore", output, output],
  });
  closeSync(output);
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const builder = {
    port,
    origin,
    log: () => readFileSync(log, "utf8"),
    host: (name) => `http://${name}.localhost:${port}`,
    api: (method, path, body) => api(port, method, path, body),
    async stop() {
      const died = child.exitCode ?? child.signalCode;
      child.kill("SIGKILL");
      await ended;
      copyFileSync(log, join(shots, `builder-${port}.log`));
      if (died !== null) console.error(`the builder had ended by itself (${died}): see ${shots}/builder-${port}.log`);
      removeEverything(readFileSync(join(data, "installation"), "utf8").trim());
      rmSync(folder, { recursive: true, force: true });
    },
  };
  await eventually(
    "the builder answers",
    async () => {
      assert.equal(child.exitCode, null, `the builder ended:\n${builder.log()}`);
      return fetch(`http://127.0.0.1:${port}/healthz`).then((answer) => answer.ok, () => false);
    },
    30_000,
  );
  await expose(port);
  return builder;
}

/** A call of the HTTP API that must go well; its JSON. */
async function api(port, method, path, body) {
  const answer = await fetch(`http://127.0.0.1:${port}/api/v1${path}`, {
    method,
    headers: typeof body === "object" ? { "content-type": "application/json" } : {},
    body: typeof body === "object" ? JSON.stringify(body) : body,
  });
  const text = await answer.text();
  assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
  return text.startsWith("{") ? JSON.parse(text) : text;
}

/** Asks for a job over the API and waits until it has succeeded. */
export async function done(builder, path, body = {}) {
  const job = await builder.api("POST", path, body);
  return eventually(`${path} succeeds`, async () => {
    const now = await builder.api("GET", `/jobs/${job.id}`);
    assert.ok(!["failed", "cancelled"].includes(now.state), JSON.stringify(now));
    return now.state === "succeeded" && now;
  });
}

function docker(...words) {
  return execFileSync("docker", words, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
}

function removeEverything(installation) {
  const ours = ["--filter", `label=slipway.dev/installation=${installation}`];
  const steps = [
    [["ps", "--all", "--quiet", ...ours], ["rm", "--force", "--volumes"]],
    [["network", "ls", "--quiet", ...ours], ["network", "rm"]],
    [["images", "--quiet", "--no-trunc", ...ours], ["rmi", "--force"]],
  ];
  for (const [list, remove] of steps) {
    const found = docker(...list).split(/\s+/).filter(Boolean);
    try {
      if (found.length > 0) docker(...remove, ...new Set(found));
    } catch (error) {
      console.error(`left in the engine: ${error.message}`);
    }
  }
}

/** A real Chromium, the one of the system, in a network of its own, with further arguments. */
export async function startBrowser(further = []) {
  return chromium.launch({
    executablePath: await insideOf(process.env.CHROMIUM ?? "/usr/bin/chromium"),
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync", ...further],
  });
}

/** A context with one page that notes everything that goes wrong on it, in `problems`. */
export async function openPage(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: "reduce", ...options });
  // The tests run beside builds and a cluster, which may use both processors for a while.
  context.setDefaultTimeout(90_000);
  const page = await context.newPage();
  return watch(page);
}

/** Notes everything that goes wrong on a page, in `page.problems`. */
export function watch(page) {
  page.problems = [];
  page.on("console", (message) => {
    if (message.type() === "error" || /Content.Security.Policy/i.test(message.text())) {
      page.problems.push(`console: ${message.text()} (${message.location().url})`);
    }
  });
  page.on("pageerror", (error) => {
    const where = `script: ${error.stack ?? error}`;
    // A draft is incomplete by design: its page may be older than its script.
    if (!/-draft\.localhost/.test(where)) page.problems.push(where);
  });
  page.on("response", (response) => {
    if (response.status() >= 500) page.problems.push(`${response.status()} ${response.url()}`);
  });
  return page;
}

/** Fails if anything went wrong on the page so far. */
export function assertQuiet(page) {
  assert.deepEqual(page.problems, [], "console, policy and requests are quiet");
}

/** Fails on anything serious or critical that axe-core finds, by default on WCAG 2.2 AA. */
export async function assertAccessible(page, where) {
  await page.evaluate(axeSource);
  const found = await page.evaluate(async () => {
    const options = { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"], iframes: false };
    const { violations } = await globalThis.axe.run(document, options);
    return violations.map(({ id, impact, help, nodes }) => ({
      id, impact, help, nodes: nodes.slice(0, 4).map(({ html, failureSummary }) => `${html} — ${failureSummary}`),
    }));
  });
  const serious = found.filter(({ impact }) => impact === "serious" || impact === "critical");
  assert.deepEqual(serious, [], `axe on ${where}`);
}

/** Bytes that came over the wire from the builder for one page, with an empty cache. */
export async function weigh(page, url) {
  const session = await page.context().newCDPSession(page);
  await session.send("Network.enable");
  await session.send("Network.setCacheDisabled", { cacheDisabled: true });
  const urls = new Map();
  let bytes = 0;
  const foreign = [];
  const origin = new URL(url).origin;
  session.on("Network.requestWillBeSent", ({ requestId, request }) => urls.set(requestId, request.url));
  session.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
    const from = urls.get(requestId) ?? "";
    if (from.startsWith(origin)) bytes += encodedDataLength;
    else if (from.startsWith("http") && !new URL(from).hostname.endsWith(".localhost")) foreign.push(from);
  });
  await page.goto(url, { waitUntil: "load" });
  await session.detach();
  return { bytes, foreign };
}

/** The password of builders that ask for one. */
export const password = "seven-white-sails";

/** Opens an address that asks for the password, and logs in there. */
export async function logIn(page, url) {
  await page.goto(url);
  await page.getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Log in" }).click();
  await page.waitForURL((url) => url.pathname !== "/login");
}

/** What publishes, as the header's next step: a button, or what asks first. */
export const publishStep = (page) => page.locator("#next > form button, #next > .confirm > summary", { hasText: /^\s*Publish/ });

/** Publishes what is in preview, and confirms where it is asked. */
export async function publish(page) {
  const step = publishStep(page);
  await step.waitFor({ timeout: PATIENCE });
  const asks = (await page.locator("#next > .confirm").count()) > 0;
  await step.click();
  if (asks) await page.locator("#next > .confirm form button").click();
}

/** A screenshot for people. */
export async function shoot(page, name) {
  await page.screenshot({ path: join(shots, `${name}.png`) });
}

/** The chip of an environment in the bar, in a state such as `ready`. */
export function chip(page, title, state) {
  return page.getByRole("banner").locator(".chip", { hasText: new RegExp(`${title}\\s+${state}`) });
}

/** Opens an address, and waits until the page's scripts run. */
export async function openAt(browser, url, options) {
  const page = await openPage(browser, options);
  await page.goto(url);
  await page.waitForFunction(() => document.documentElement.classList.contains("scripts"));
  return page;
}
