// Small things that several modules need.

export const find = (selector, within = document) => within.querySelector(selector);
export const all = (selector, within = document) => [...within.querySelectorAll(selector)];

/** Calls `act` with the element that matches, for this event anywhere in the page, now or later. */
export function on(event, selector, act, options) {
  document.addEventListener(event, (happened) => {
    const element = happened.target.closest?.(selector);
    if (element) act(element, happened);
  }, options);
}

/** Says a sentence to screen readers. */
export function announce(sentence) {
  const place = find("#live");
  if (place && place.textContent !== sentence) place.textContent = sentence;
}

/** A sentence in the corner of the page. */
export function notice(title, detail = "", bad = false) {
  const place = find("#notices");
  if (!place) return;
  // Said again, it stands there once.
  for (const box of place.children) if (box.dataset.title === title && box.dataset.detail === detail) box.remove();
  const box = make("div", { class: `notice${bad ? " bad" : ""}`, role: bad ? "alert" : "status", "data-title": title, "data-detail": detail });
  const words = make("div", { class: "grow" });
  words.append(make("b", {}, title), detail);
  box.append(words, make("button", { class: "button quiet small", type: "button", "data-dismiss": "" }, "Dismiss"));
  place.append(box);
  if (!bad) setTimeout(() => box.remove(), 6000);
}

export function make(name, attributes = {}, text) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

/** Tells at most once in `wait` milliseconds, and the last time for certain. */
export function settled(act, wait) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...values), wait);
  };
}

/** Asks for the shown tab once more and changes what differs. */
export function refreshStage() {
  const stage = find("#stage");
  if (!stage || find("[data-editing]", stage)) return;
  window.htmx?.ajax("GET", location.pathname + location.search, { target: "#stage", swap: "innerMorph", source: stage });
}

// Fields that grow with their text, where style sheets cannot do it alone.
const grows = CSS.supports("field-sizing", "content");
export function grow(field) {
  if (grows || !field.matches("[data-grow]")) return;
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

/** The key of the tab that is shown. */
export const shownTab = () => find(".tabs [aria-current]")?.dataset.tab;

/** Shows the conversation or the app, where there is room for one of them only. */
export function showPane(name) {
  const radio = find(`#pane-${name}`);
  if (radio) radio.checked = true;
}
