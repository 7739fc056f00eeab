// The last requests of an app: new ones are added at the top as they arrive.

import { localTimes } from "./clock.js";
import { all, find, make, on } from "./page.js";

on("requests", "#request-rows", (list, event) => {
  const template = make("template");
  template.innerHTML = JSON.parse(event.detail.data).html;
  localTimes(template.content);
  find("#no-requests")?.remove();
  list.prepend(template.content);
  for (const row of all("tr", list).slice(Number(list.dataset.kept))) row.remove();
});

// A filter applies as soon as it is chosen or cleared.
on("change", "select[data-submits]", (select) => select.form.requestSubmit());
on("search", "input[data-submits]", (input) => input.value === "" && input.form.requestSubmit());

const begin = () => {
  for (const place of all("#request-rows, .metrics-table")) localTimes(place);
};
begin();
document.addEventListener("htmx:after:swap", begin);
