// Live updates of the app's page. The server sends events with increasing ids: fragments of HTML with their targets,
// which htmx inserts, and operations on elements, which this module applies: the model's text and code while they
// are written, and their rendered form. After a disconnect the stream resumes after the last id, so no event is lost or applied twice.

import { all, announce, find, on, refreshStage, settled, showPane, shownTab } from "./page.js";
import { draftChanged, environmentChanged, turnBegan } from "./views.js";
import { placeholder } from "./composer.js";
import { logLine } from "./logs.js";
import { refreshUsage } from "./usage.js";

const stream = find("#stream");

// Scroll with the conversation only while the user is at its end.
const talk = find("#talk");
let following = true;
const atEnd = () => talk.scrollHeight - talk.scrollTop - talk.clientHeight < 48;
const newest = find("#newest");
const showNewest = () => newest && (newest.hidden = following || atEnd());
talk?.addEventListener(
  "scroll",
  () => {
    following = atEnd();
    showNewest();
  },
  { passive: true },
);
export function follow() {
  if (talk && following) talk.scrollTop = talk.scrollHeight;
  showNewest();
}
on("click", "#newest", () => {
  following = true;
  follow();
  talk.focus({ preventScroll: true });
});
if (talk) {
  const asked = location.hash && find(location.hash, talk);
  following = !asked;
  follow();
  // The conversation grows; and a composer that grows leaves it less space.
  const sizes = new ResizeObserver(follow);
  sizes.observe(talk);
  sizes.observe(find("#turns") ?? talk);
}

// The end of the conversation says why a deployment failed.
on("click", "[data-pane]", (link, event) => {
  event.preventDefault();
  showPane(link.dataset.pane);
  find(link.hash)?.scrollIntoView({ block: "nearest" });
});

// Earlier messages are inserted above, and the messages in view stay where they are.
let fromEnd;
document.addEventListener("htmx:before:swap", (event) => {
  if (talk && event.target.closest?.("#earlier")) fromEnd = talk.scrollHeight - talk.scrollTop;
});
document.addEventListener("htmx:after:swap", () => {
  if (fromEnd === undefined) return;
  talk.scrollTop = talk.scrollHeight - fromEnd;
  requestAnimationFrame(() => (fromEnd = undefined));
});

// Operations on an element, which is found by its id. The server has rendered all HTML in them.
const operations = {
  text(at, words) {
    const there = at.scrollHeight - at.scrollTop - at.clientHeight < 24;
    at.append(words);
    if (there) at.scrollTop = at.scrollHeight;
  },
  words: (at, words) => (at.textContent = words),
  append(at, html) {
    at.insertAdjacentHTML("beforeend", html);
    typedToEnd(at.lastElementChild);
  },
  before: (at, html) => at.insertAdjacentHTML("beforebegin", html),
  replace: (at, html) => (at.outerHTML = html),
  remove: (at) => at.remove(),
  set: (at, name, value) => at.setAttribute(name, value),
  unset: (at, name) => at.removeAttribute(name),
  doing(at, words) {
    if (at.textContent === words) return;
    at.textContent = words;
    announce(words);
  },
};

function operate(list) {
  for (const [name, place, ...values] of list) {
    if (name === "announce") announce(place);
    else if (name === "draft") draftChanged();
    else {
      // Operations on a turn that is not on the page are ignored.
      const at = document.getElementById(place);
      if (at) operations[name](at, ...values);
    }
  }
}

/** Scrolls code to its end while it is being written. */
function typedToEnd(within) {
  if (!within) return;
  for (const code of all(".step.busy pre", within.parentElement)) {
    if (within.contains(code)) code.scrollTop = code.scrollHeight;
  }
}

// A whole turn: added when it was sent; replaced when it has started or ended, or after a disconnect.
function turn({ id, job, running, ended, html }) {
  const there = find(`#turn-${id}`);
  const said = there && find("[data-doing]", there)?.textContent;
  const holder = document.createElement("template");
  holder.innerHTML = html;
  const fresh = holder.content.firstElementChild;
  find("#no-turns")?.remove();
  if (there) {
    // Sections that the user has opened stay open.
    for (const opened of all("details.thought[open]", there)) {
      const again = opened.id && find(`#${opened.id}`, fresh);
      if (again) again.open = true;
    }
    there.replaceWith(fresh);
  } else {
    // This turn answers the choices that an earlier turn offered.
    for (const offer of all("#turns [data-once]")) offer.remove();
    for (const answered of all("#turns [data-answered][hidden]")) {
      answered.hidden = false;
      find("q", answered).textContent = find(".user-message", fresh)?.textContent ?? "";
    }
    find("#turns").append(fresh);
    following = true;
    placeholder();
    turnBegan(job);
  }
  const says = running && find("[data-doing]", fresh)?.textContent;
  if (says && says !== said) announce(says);
  typedToEnd(fresh);
  window.htmx.process(fresh);
  const asked = ended && find(".question p", fresh);
  if (asked) announce(asked.textContent.trim());
  follow();
  if (ended && ["code", "versions"].includes(shownTab())) refreshStage();
}

/** What is said over the frame about the version in it depends on the deployment that has just begun or ended. */
function refreshNote() {
  const note = find("#stage #note");
  if (note) window.htmx.ajax("GET", location.pathname + location.search, { target: note, select: "#note", swap: "outerHTML", source: note });
}

if (stream) {
  const handlers = {
    operations: operate,
    turn,
    log: ({ stream: source, line }) => logLine(source === "app" ? "app" : "build", source === "deploy", line),
    environment: (change) => {
      environmentChanged(change);
      refreshNote();
      refreshUsage();
    },
    releases: settled(() => shownTab() === "releases" && refreshStage(), 200),
    gone: () => (location.href = "/"),
  };
  for (const [name, act] of Object.entries(handlers)) {
    stream.addEventListener(name, (event) => {
      act(JSON.parse(event.detail.data));
      if (name === "operations") follow();
    });
  }
  document.addEventListener("htmx:after:swap", follow);

  // A lost connection is shown only after a moment, and not on a page in the background.
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
  // The extension does not retry a first connection that fails.
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

// A page that was restored from the browser's cache has missed events.
window.addEventListener("pageshow", (event) => event.persisted && location.reload());
for (const live of all("[data-live]")) typedToEnd(live);
