// The app's page, live. The server sends events with growing ids: pieces of HTML with their places,
// which htmx puts there, and small data that is applied here: the model's text and code as they are
// typed. After a break the stream goes on behind the last id seen, so nothing doubles and nothing is lost.

import { all, announce, find, make, refreshStage, settled, shownTab } from "./page.js";
import { draftChanged, environmentChanged, turnBegan } from "./frame.js";
import { logLine } from "./logs.js";
import { refreshUsage } from "./usage.js";

const stream = find("#stream");

// Follow the end of the conversation while the reader is there, and only then.
const talk = find("#talk");
let following = true;
const atEnd = () => talk.scrollHeight - talk.scrollTop - talk.clientHeight < 48;
talk?.addEventListener("scroll", () => (following = atEnd()), { passive: true });
export function follow() {
  if (talk && following) talk.scrollTop = talk.scrollHeight;
}
if (talk) {
  const asked = location.hash && find(location.hash, talk);
  if (!asked) {
    talk.scrollTop = talk.scrollHeight;
    new ResizeObserver(follow).observe(find("#turns") ?? talk);
  }
}

const liveTurn = () => find("[data-live]");
const lastBlock = (turn) => find(".blocks", turn)?.lastElementChild;

function doing(turn, words) {
  const place = find("[data-doing]", turn);
  if (place && place.textContent !== words) {
    place.textContent = words;
    announce(words);
  }
}

// Words. The tail is shown as it comes; each part that an empty line has closed is rendered by the
// server and takes its place.
function text({ delta, kind }) {
  const turn = liveTurn();
  if (!turn) return;
  const wanted = kind === "thought" ? "thought" : "answer";
  let block = lastBlock(turn);
  if (block?.dataset.block !== wanted) {
    if (block) finish(block);
    block = wanted === "answer" ? answerBlock() : thoughtBlock();
    find(".blocks", turn).append(block);
  }
  if (wanted === "thought") {
    find(".words", block).append(delta);
    doing(turn, "Thinking");
    return;
  }
  doing(turn, "Answering");
  let tail = find(".tail", block);
  if (!tail) {
    tail = make("p", { class: "tail" });
    block.append(tail);
  }
  tail.append(delta);
  const cut = splitTail(tail.textContent);
  if (cut > 0) close(block, cut);
}

function answerBlock() {
  return make("div", { class: "prose", "data-block": "answer" });
}

function thoughtBlock() {
  const block = make("details", { class: "thought", "data-block": "thought" });
  const summary = make("summary");
  const turner = drawing("m6 3.5 4.5 4.5L6 12.5");
  turner.classList.add("turner");
  summary.append(drawing("M5.5 11.500h5M6 14h4M5.600 9.600a4.400 4.400 0 1 1 4.800 0c-.5.4-.7.9-.7 1.900H6.300c0-1-.2-1.500-.7-1.900z"), "Thinking", turner);
  block.append(summary, make("div", { class: "words" }));
  return block;
}

/** Where the last part ends that can be rendered for good: the server splits by the same rule. */
export function splitTail(words) {
  let fenced = false;
  let cut = 0;
  let at = 0;
  for (const line of words.split(/(?<=\n)/)) {
    at += line.length;
    const bare = line.trim();
    if (bare.startsWith("```") || bare.startsWith("~~~")) fenced = !fenced;
    if (!fenced && bare === "" && line.endsWith("\n")) cut = at;
  }
  return cut;
}

// One part after the other, so that they stand in their order.
let rendering = Promise.resolve();
function close(block, cut) {
  const tail = find(".tail", block);
  const done = tail.textContent.slice(0, cut);
  const rest = tail.textContent.slice(cut);
  if (done.trim() === "") {
    tail.textContent = rest;
    return;
  }
  // What was said stays in sight, as it came, until it is rendered.
  const waiting = make("p", { class: "tail" }, done.trimEnd());
  waiting.className = "waiting";
  tail.before(waiting);
  tail.textContent = rest;
  if (!rest) tail.remove();
  rendering = rendering.then(() => render(done)).then((html) => {
    if (html !== null && waiting.isConnected) {
      const holder = document.createElement("template");
      holder.innerHTML = html;
      waiting.replaceWith(holder.content);
      follow();
    }
  });
}

async function render(words) {
  try {
    const answer = await fetch("/markdown", { method: "POST", headers: { "Content-Type": "text/plain" }, body: words });
    return answer.ok ? await answer.text() : null;
  } catch {
    return null;
  }
}

/** Another block follows: this one says no more. */
function finish(block) {
  const tail = block.dataset.block === "answer" && find(".tail", block);
  if (tail) close(block, tail.textContent.length);
}

// Files.
function file({ path, state, delta }) {
  if (state !== "writing") draftChanged();
  const turn = liveTurn();
  if (!turn) return;
  let block = lastBlock(turn);
  const same = block?.dataset.block === "file" && block.dataset.path === path && block.classList.contains("busy");
  if (!same) {
    if (block) finish(block);
    block = fileBlock(path);
    find(".blocks", turn).append(block);
  }
  if (delta) typed(block, delta);
  if (state === "writing") {
    doing(turn, `Writing ${path}`);
    return;
  }
  block.classList.replace("busy", "ok");
  find("[data-verb]", block).textContent = state === "deleted" ? "Deleted" : "Wrote";
  find(".mark", block).replaceChildren(drawing(state === "deleted" ? "M2.5 4.2h11M4 4.2l.6 9.3h6.8l.6-9.3" : "M3 8.5 6.5 12 13 4.5"));
  block.open = false;
  doing(turn, "Working");
  announce(`${state === "deleted" ? "Deleted" : "Wrote"} ${path}`);
}

function fileBlock(path) {
  const block = make("details", { class: "step busy", "data-block": "file", "data-path": path });
  block.open = true;
  const summary = make("summary");
  const mark = make("span", { class: "mark" });
  const spinner = drawing("M8 2a6 6 0 1 1-6 6");
  spinner.classList.add("spin");
  mark.append(spinner);
  const what = make("span", { class: "what" });
  what.append(make("span", { "data-verb": "" }, "Writing"), " ", make("code", {}, path));
  summary.append(mark, what, make("span", { class: "lines" }));
  block.append(summary);
  return block;
}

function typed(block, delta) {
  let code = find("pre", block);
  if (!code) {
    code = make("pre", { tabindex: "0" });
    block.append(code);
  }
  const there = code.scrollHeight - code.scrollTop - code.clientHeight < 24;
  code.append(delta);
  if (there) code.scrollTop = code.scrollHeight;
  const before = Number(block.dataset.lines ?? (code.textContent.slice(0, -delta.length).match(/\n/g)?.length ?? 0));
  const lines = before + (delta.match(/\n/g)?.length ?? 0);
  block.dataset.lines = lines;
  find(".lines", block).textContent = lines === 0 ? "1 line" : `${lines} ${lines === 1 ? "line" : "lines"}`;
}

const told = new Set(["write_file", "edit_file", "delete_file"]);
function tool({ name, summary, ok }) {
  const turn = liveTurn();
  if (!turn) return;
  const block = lastBlock(turn);
  // The file's own line says it already.
  if (ok && told.has(name) && block?.dataset.block === "file") return;
  if (block) finish(block);
  // A file that was being written is not; a notice is no tool.
  if (!ok && name !== "model") for (const file of all("[data-block=file].busy", turn)) file.remove();
  const line = make("div", { class: `step ${ok ? "ok" : "not"}`, "data-block": "tool" });
  const mark = make("span", { class: "mark" });
  mark.append(drawing(ok ? "M3 8.5 6.5 12 13 4.5" : "m4 4 8 8M12 4l-8 8"));
  line.append(mark, make("span", { class: "what", title: summary }, summary));
  find(".blocks", turn).append(line);
  doing(turn, "Working");
  announce(summary);
}

function drawing(path) {
  const names = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(names, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(names, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

// A turn as a whole: added when it was sent, replaced by its rendered form when it has ended, or when
// words of it were taken back.
function turn({ id, ended, anew, html }) {
  const there = find(`#turn-${id}`);
  // While it runs, what stands here already was built from its events.
  if (there && !ended && !anew) {
    there.toggleAttribute("data-live", true);
    find("[data-withdraw]", there)?.remove();
    if (find("[data-doing]", there)?.textContent === "Waiting for its turn") doing(there, "Thinking");
    return;
  }
  const holder = document.createElement("template");
  holder.innerHTML = html;
  const fresh = holder.content.firstElementChild;
  find("#no-turns")?.remove();
  if (there) there.replaceWith(fresh);
  else {
    // What an earlier turn offered is answered by this one.
    for (const offer of all("#turns [data-once]")) offer.remove();
    find("#turns").append(fresh);
    following = true;
    turnBegan();
  }
  window.htmx.process(fresh);
  const asked = ended && find(".question p", fresh);
  if (asked) announce(asked.textContent.trim());
  follow();
  if (ended && ["code", "versions"].includes(shownTab())) refreshStage();
}

if (stream) {
  const handlers = {
    text,
    file,
    tool,
    turn,
    log: ({ stream: source, line }) => logLine(source === "app" ? "app" : "build", source === "deploy", line),
    environment: (change) => {
      environmentChanged(change);
      refreshUsage();
    },
    releases: settled(() => shownTab() === "releases" && refreshStage(), 200),
    gone: () => (location.href = "/"),
  };
  for (const [name, act] of Object.entries(handlers)) {
    stream.addEventListener(name, (event) => {
      act(JSON.parse(event.detail.data));
      if (name === "text" || name === "file" || name === "tool") follow();
    });
  }
  document.addEventListener("htmx:after:swap", follow);

  // The connection: said to be lost only after a moment, and not for a page in the background.
  const offline = find("#offline");
  let lost;
  const broken = () => {
    if (document.hidden) return;
    lost ??= setTimeout(() => (offline.hidden = false), 1200);
  };
  const whole = () => {
    clearTimeout(lost);
    lost = undefined;
    offline.hidden = true;
  };
  stream.addEventListener("htmx:sse:before:connection", (event) => event.detail.connection?.attempt > 0 && broken());
  stream.addEventListener("htmx:sse:error", broken);
  stream.addEventListener("htmx:sse:after:connection", whole);
  stream.addEventListener("htmx:sse:close", () => stream.isConnected && again());
  // A first connection that fails is not tried again by the extension.
  const again = settled(() => window.htmx.trigger(stream, "slipway:connect"), 2000);
  stream.addEventListener("htmx:error", () => {
    broken();
    again();
  });
  stream.addEventListener("htmx:response:error", (event) => {
    if (event.detail.ctx?.response?.status === 404) location.reload();
    else {
      broken();
      again();
    }
  });
}

// A page that came from the browser's memory has missed what happened since.
window.addEventListener("pageshow", (event) => event.persisted && location.reload());
for (const block of all("[data-live] .step.busy pre")) block.scrollTop = block.scrollHeight;
