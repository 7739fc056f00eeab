// A network namespace for the browser. Chromium drops its requests whenever an interface of its network appears or disappears,
// as the engine's do continuously on the host. In the namespace nothing changes.
//
// Run as a program inside the new namespace, this listens on each port that it reads from its input, on the
// namespace's own loopback, and forwards every connection to a Unix socket, which works across namespaces.

import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** Connects both ends; each end's failure ends the other. */
function pair(one, other) {
  one.on("error", () => other.destroy());
  other.on("error", () => one.destroy());
  one.on("close", () => other.destroy());
  other.on("close", () => one.destroy());
  one.pipe(other).pipe(one);
}

/** A server that hands every connection to `to`, listening on `on`. */
async function forward(on, to) {
  const options = { allowHalfOpen: true, noDelay: true };
  const server = createServer(options, (from) => pair(from, connect({ ...options, ...to })));
  server.listen(on);
  await once(server, "listening");
  server.unref();
}

let namespace;

/** The namespace of this test process, made when it is first asked for; it ends with the process. */
function theNamespace() {
  namespace ??= makeNamespace();
  return namespace;
}

async function makeNamespace() {
  const folder = mkdtempSync(join(tmpdir(), "slipway-network-"));
  // Without root, a user namespace provides it.
  const users = process.getuid() === 0 ? [] : ["--user", "--map-root-user"];
  const inside = spawn("unshare", [...users, "--net", process.execPath, fileURLToPath(import.meta.url)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  process.once("exit", () => rmSync(folder, { recursive: true, force: true }));
  const lines = createInterface(inside.stdout)[Symbol.asyncIterator]();
  const answer = async () => {
    const { value, done } = await lines.next();
    if (done) throw new Error("the browser needs a network namespace of its own: run the tests as root");
    return value;
  };
  await answer();
  for (const part of [inside, inside.stdin, inside.stdout]) part.unref();
  const enter = ["--target", inside.pid, "--net", ...(users.length > 0 ? ["--user", "--preserve-credentials"] : [])];
  const open = async (port) => {
    const socket = join(folder, `${port}`);
    await forward({ path: socket }, { host: "127.0.0.1", port });
    inside.stdin.write(`${port} ${socket}\n`);
    await answer();
  };
  return { folder, enter, open };
}

/** Has the builder at this port of the host answer at the same port inside. */
export async function expose(port) {
  const { open } = await theNamespace();
  await open(port);
}

/** A program that starts `program` inside. */
export async function insideOf(program) {
  const { folder, enter } = await theNamespace();
  const file = join(folder, "browser");
  writeFileSync(file, `#!/bin/sh\nexec nsenter ${enter.join(" ")} -- '${program}' "$@"\n`, { mode: 0o755 });
  return file;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const ip = (...words) => execFileSync("ip", words);
  ip("link", "set", "lo", "up");
  // With loopback alone the browser would report that it is offline.
  ip("link", "add", "near", "type", "veth", "peer", "name", "far");
  ip("address", "add", "192.0.2.1/30", "dev", "near");
  for (const end of ["near", "far"]) {
    // Without IPv6, whose address would appear a second or two later, which is a network change too.
    ip("link", "set", end, "addrgenmode", "none");
    ip("link", "set", end, "up");
  }
  console.log("ready");
  for await (const line of createInterface(process.stdin)) {
    const [port, path] = line.split(" ");
    await forward({ host: "127.0.0.1", port: Number(port) }, { path });
    console.log(`listening on ${port}`);
  }
  process.exit();
}
