"use strict";

const $ = (id) => document.getElementById(id);
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1, minimumFractionDigits: 1 });
const money = new Intl.NumberFormat("en", { style: "currency", currency: "EUR" });
const dayName = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric", month: "short" });

let days = 30;
let shown = [];
let chosen = -1;
let sort = { by: "date", down: true };

const sum = (list, key) => list.reduce((total, reading) => total + reading[key], 0);

/** What the tiles say: a title, a value and a unit, and the number behind it. */
function facts(list) {
  const used = sum(list, "used");
  const made = sum(list, "made");
  return [
    { title: "Used", value: number.format(used), unit: "kWh", amount: used },
    { title: "From the roof", value: number.format(made), unit: "kWh", amount: made },
    { title: "Share of own power", value: String(Math.round(Math.min(1, (made * 0.45) / Math.max(1, used)) * 100)), unit: "%", amount: Math.min(1, (made * 0.45) / Math.max(1, used)) },
    { title: "Cost", value: money.format(sum(list, "cost")), unit: "", amount: sum(list, "cost") },
  ];
}

function tile({ title, value, unit }) {
  const box = document.createElement("div");
  const head = document.createElement("dt");
  head.textContent = title;
  const body = document.createElement("dd");
  const small = document.createElement("small");
  small.textContent = ` ${unit}`;
  body.append(value, small);
  box.append(head, body);
  return box;
}

function showTiles() {
  $("tiles").replaceChildren(...facts(shown).map(tile));
}

const SVG = "http://www.w3.org/2000/svg";
function shape(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  $("plot").append(element);
  return element;
}

const [WIDTH, HEIGHT, FOOT] = [900, 300, 8];
let top_ = 1;
const y = (value) => HEIGHT - FOOT - (value / top_) * (HEIGHT - FOOT - 12);

function showChart() {
  const plot = $("plot");
  plot.replaceChildren();
  plot.setAttribute("preserveAspectRatio", "none");
  top_ = Math.ceil(Math.max(5, ...shown.map(({ used, made }) => Math.max(used, made))) / 5) * 5;
  for (let line = 0; line <= top_; line += 5) shape("line", { x1: 0, x2: WIDTH, y1: y(line), y2: y(line), class: "grid" });
  const step = WIDTH / shown.length;
  shown.forEach(({ used }, nth) => {
    shape("rect", { x: nth * step + step * 0.14, width: step * 0.72, y: y(used), height: HEIGHT - FOOT - y(used), rx: Math.min(4, step * 0.2), class: `bar${nth === chosen ? " chosen" : ""}` });
  });
  shape("path", { d: shown.map(({ made }, nth) => `${nth === 0 ? "M" : "L"}${(nth + 0.5) * step} ${y(made)}`).join(" "), class: "line" });
}

function choose(nth) {
  if (nth === chosen || nth < 0 || nth >= shown.length) return;
  chosen = nth;
  const { date, used, made, cost } = shown[nth];
  $("reading").textContent = `${dayName.format(date)}: used ${number.format(used)} kWh, roof ${number.format(made)} kWh, ${money.format(cost)}`;
  document.querySelectorAll("#plot .bar").forEach((bar, at) => bar.classList.toggle("chosen", at === nth));
}

$("chart").addEventListener("pointermove", (event) => {
  const { left, width } = $("plot").getBoundingClientRect();
  choose(Math.floor(((event.clientX - left) / width) * shown.length));
});
$("chart").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  choose(chosen < 0 ? shown.length - 1 : Math.min(shown.length - 1, Math.max(0, chosen + step)));
});

function showTable() {
  const rows = [...shown].sort((a, b) => (sort.by === "date" ? a.date - b.date : a[sort.by] - b[sort.by]) * (sort.down ? -1 : 1));
  $("rows").replaceChildren(...rows.map(({ date, used, made, cost, isOwn }) => {
    const row = document.createElement("tr");
    if (isOwn) row.className = "own";
    for (const text of [dayName.format(date), number.format(used), number.format(made), money.format(cost)]) {
      const cell = document.createElement("td");
      cell.textContent = text;
      row.append(cell);
    }
    return row;
  }));
  for (const button of document.querySelectorAll("[data-sort]")) {
    const head = button.parentElement;
    if (button.dataset.sort === sort.by) head.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
  }
}

for (const button of document.querySelectorAll("[data-sort]")) {
  button.addEventListener("click", () => {
    const by = button.dataset.sort;
    sort = { by, down: sort.by === by ? !sort.down : true };
    showTable();
  });
}

function show() {
  shown = readings(days);
  chosen = -1;
  $("sample").hidden = shown.every(({ isOwn }) => isOwn);
  showTiles();
  showChart();
  showTable();
}

$("periods").addEventListener("click", (event) => {
  const button = event.target.closest("[data-days]");
  if (!button) return;
  days = Number(button.dataset.days);
  for (const other of $("periods").children) other.setAttribute("aria-pressed", String(other === button));
  show();
});

const add = $("add");
add.elements.date.value = dayOf(new Date());
add.elements.date.max = dayOf(new Date());
add.addEventListener("submit", (event) => {
  event.preventDefault();
  const { date, used, made } = add.elements;
  keepReading(date.value, { used: used.valueAsNumber, made: made.valueAsNumber });
  $("saved").textContent = `Saved for ${date.value}, in this browser.`;
  used.value = "";
  show();
});

show();
