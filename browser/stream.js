// The app's page, live. The server sends events with growing ids: pieces of HTML with their places,
// which htmx puts there, and operations on elements, which are applied here: the model's text and code as they
// are typed, and what the server has rendered of them. After a break the stream goes on behind the last id seen, so nothing doubles and nothing is lost.

import { all, announce, find, refreshStage, settled, shownTab } from "./page.js";
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

// What is done to an element, by its id: the server has rendered what is put into it.
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
      // Of a turn that is not shown, nothing can be.
      const at = document.getElementById(place);
      if (at) operations[name](at, ...values);
    }
  }
}

/** Code that is being typed shows its end. */
function typedToEnd(within) {
  if (!within) return;
  for (const code of all(".step.busy pre", within.parentElement)) {
    if (within.contains(code)) code.scrollTop = code.scrollHeight;
  }
}

// A turn as a whole: added when it was sent; put in place of what is there when it has begun or ended, or after a break.
function turn({ id, running, ended, html }) {
  const there = find(`#turn-${id}`);
  const said = there && find("[data-doing]", there)?.textContent;
  const holder = document.createElement("template");
  holder.innerHTML = html;
  const fresh = holder.content.firstElementChild;
  find("#no-turns")?.remove();
  if (there) {
    // What its reader has opened stays open.
    for (const opened of all("details.thought[open]", there)) {
      const again = opened.id && find(`#${opened.id}`, fresh);
      if (again) again.open = true;
    }
    there.replaceWith(fresh);
  } else {
    // What an earlier turn offered is answered by this one.
    for (const offer of all("#turns [data-once]")) offer.remove();
    find("#turns").append(fresh);
    following = true;
    turnBegan();
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

if (stream) {
  const handlers = {
    operations: operate,
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
      if (name === "operations") follow();
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
for (const live of all("[data-live]")) typedToEnd(live);
