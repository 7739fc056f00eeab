// The name of a new app follows its description until the person types a name or asks for another one.

import { find } from "./page.js";

let filled = find("#name")?.value;

document.addEventListener("htmx:after:swap", () => {
  const name = find("#name");
  const suggested = find("#suggested")?.dataset.name;
  if (!name || !suggested || name.value !== filled || name === document.activeElement) return;
  name.value = filled = suggested;
});
