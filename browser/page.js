// Helpers that several modules use.

export const find = (selector, within = document) => within.querySelector(selector);
export const all = (selector, within = document) => [...within.querySelectorAll(selector)];

/** Calls `act` with the element that matches, for this event anywhere in the page, now or later. */
export function on(event, selector, act, options) {
  document.addEventListener(event, (happened) => {
    const element = happened.target.closest?.(selector);
    if (element) act(element, happened);
  }, options);
}

/** Announces a sentence to screen readers. */
export function announce(sentence) {
  const place = find("#live");
  if (place && place.textContent !== sentence) place.textContent = sentence;
}

/** Shows a notice in the corner of the page. */
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

/** Debounces `act`: it runs `wait` milliseconds after the last call. */
export function settled(act, wait) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...values), wait);
  };
}

/** Loads the current tab again and updates the elements that differ. */
export function refreshStage() {
  const stage = find("#stage");
  if (!stage || find("[data-editing]", stage)) return;
  window.htmx?.ajax("GET", location.pathname + location.search, { target: "#stage", swap: "innerMorph", source: stage });
}

// Fields that grow with their text, in browsers without `field-sizing`.
const grows = CSS.supports("field-sizing", "content");
export function grow(field) {
  if (grows || !field.matches("[data-grow]")) return;
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight}px`;
}

/** The key of the current tab. */
export const shownTab = () => find(".tabs [aria-current]")?.dataset.tab;

/** Shows the conversation or the app on screens with space for only one of them. */
export function showPane(name) {
  const radio = find(`#pane-${name}`);
  if (radio) radio.checked = true;
}
