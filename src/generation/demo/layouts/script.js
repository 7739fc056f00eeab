"use strict";

const $ = (selector) => document.querySelector(selector);

/** What this browser has kept; `otherwise` where it keeps nothing. */
function kept(key, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

function keep(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch {
    // Private windows may keep nothing: it then lasts as long as the page.
  }
}
{% if layout == "shop" %}

const chosen = new Set(kept("chosen", []));

function show() {
  for (const button of document.querySelectorAll("[data-item]")) {
    const isChosen = chosen.has(button.dataset.item);
    button.setAttribute("aria-pressed", String(isChosen));
    button.textContent = isChosen ? "On my list" : "Add to my list";
  }
  const names = [...chosen];
  $("#wanted").textContent = names.length === 0 ? "Nothing chosen yet." : `${names.length} chosen: ${names.join(", ")}.`;
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-item]");
  if (!button) return;
  const { item } = button.dataset;
  if (!chosen.delete(item)) chosen.add(item);
  keep("chosen", [...chosen]);
  show();
});
show();
{% elif layout == "event" %}

const field = $("#date");
// Without a date of your own: the first Saturday that is at least four weeks away.
const soon = new Date(Date.now() + 28 * 86400000);
soon.setDate(soon.getDate() + ((6 - soon.getDay() + 7) % 7));
const written = `${soon.getFullYear()}-${String(soon.getMonth() + 1).padStart(2, "0")}-${String(soon.getDate()).padStart(2, "0")}`;
field.value = kept("date", written);
field.addEventListener("change", () => {
  keep("date", field.value);
  tick();
});

function tick() {
  const [year, month, day] = field.value.split("-").map(Number);
  const left = Math.max(0, new Date(year, month - 1, day) - Date.now());
  const parts = { days: Math.floor(left / 86400000), hours: Math.floor(left / 3600000) % 24, minutes: Math.floor(left / 60000) % 60 };
  for (const [unit, value] of Object.entries(parts)) $(`[data-unit=${unit}]`).textContent = Number.isFinite(value) ? value : "–";
}
tick();
setInterval(tick, 1000);

let guests = kept("guests", []);

function show() {
  $("#guests").replaceChildren(...guests.map((guest) => {
    const item = document.createElement("li");
    item.textContent = guest;
    return item;
  }));
}

$("#guest-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("#guest").value.trim();
  if (name === "") return;
  guests = [...guests, name].slice(-100);
  keep("guests", guests);
  $("#guest").value = "";
  show();
});
show();
{% elif layout == "portfolio" %}

const large = $("#large");

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-picture]");
  if (!button) return;
  $("#large-picture").replaceChildren(button.querySelector("svg").cloneNode(true));
  $("#large-title").textContent = button.textContent.trim();
  large.showModal();
});
large.addEventListener("click", (event) => {
  if (event.target === large) large.close();
});
{% elif layout == "dashboard" %}

const samples = [["Sample A", 42], ["Sample B", 28], ["Sample C", 65], ["Sample D", 37], ["Sample E", 51]];
let entries = kept("entries", null);

function show() {
  const shown = entries ?? samples;
  const sum = shown.reduce((total, [, amount]) => total + amount, 0);
  const most = Math.max(1e-9, ...shown.map(([, amount]) => Math.abs(amount)));
  const format = new Intl.NumberFormat(undefined, { maximumFractionDigits: 2 });
  $("[data-sum]").textContent = format.format(sum);
  $("[data-average]").textContent = shown.length === 0 ? "–" : format.format(sum / shown.length);
  $("[data-count]").textContent = String(shown.length);
  $("#sample").hidden = entries !== null;
  $("#chart").replaceChildren(...shown.map(([what, amount]) => {
    const bar = document.createElement("div");
    bar.style.height = `${Math.max(2, Math.abs(amount) / most * 100)}%`;
    bar.title = `${what}: ${format.format(amount)}`;
    return bar;
  }));
  $("#entries").replaceChildren(...shown.map(([what, amount]) => {
    const row = document.createElement("tr");
    for (const text of [what, format.format(amount), sum === 0 ? "–" : `${Math.round(amount / sum * 100)} %`]) {
      const cell = document.createElement("td");
      cell.textContent = text;
      row.append(cell);
    }
    return row;
  }));
}

$("#entry-form").addEventListener("submit", (event) => {
  event.preventDefault();
  entries = [...(entries ?? []), [$("#what").value.trim(), Number($("#amount").value)]].slice(-60);
  keep("entries", entries);
  event.target.reset();
  $("#what").focus();
  show();
});
$("#clear").addEventListener("click", () => {
  entries = [];
  keep("entries", entries);
  show();
});
show();
{% else %}

const search = $("#search");

function filter() {
  const wanted = search.value.trim().toLowerCase();
  for (const row of document.querySelectorAll("#part-table tbody tr")) {
    row.hidden = wanted !== "" && !row.textContent.toLowerCase().includes(wanted);
  }
}

search.addEventListener("input", filter);
new MutationObserver(filter).observe($("#part-table tbody"), { childList: true });
{% endif %}
