// The tree of files: its filter.

import { all, find, on, settled } from "./page.js";

const filterTree = settled((field) => {
  const wanted = field.value.trim().toLowerCase();
  const tree = field.closest(".tree");
  const list = find("#tree-files", tree);
  for (const link of all("a", list)) {
    const path = decodeURIComponent(link.pathname).split("/code/").slice(1).join("/code/").toLowerCase();
    link.parentElement.hidden = wanted !== "" && !path.includes(wanted);
  }
  for (const folder of all("li:has(> details)", list)) {
    const any = all("li:not(:has(> details))", folder).some((item) => !item.hidden);
    folder.hidden = !any;
    if (wanted && any) folder.firstElementChild.open = true;
  }
  const none = find("[data-no-files]", tree);
  if (none) none.hidden = all("a", list).some((link) => !link.parentElement.hidden);
}, 80);
on("input", "[data-filter-tree]", filterTree);
