"use strict";

// The pictures. To show a photograph, give its entry a file: { title: "…", kind: "sea", file: "wave.jpg" }.
const PICTURES = [
  { title: "First light, east ridge", kind: "mountain", sky: ["#f6c9a0", "#f08a5d"], land: "#5b3a4a", sun: [250, 120], tall: 1.25 },
  { title: "Tide going out", kind: "sea", sky: ["#cfe5ec", "#8fbccb"], land: "#2f6071", sun: [90, 70], tall: 0.8 },
  { title: "Four o'clock, no wind", kind: "night", sky: ["#101a3a", "#2d3f78"], land: "#070b1a", sun: [290, 60], tall: 1.1 },
  { title: "The long valley", kind: "mountain", sky: ["#e7efe0", "#a9c6a0"], land: "#3e6350", sun: [120, 80], tall: 0.75 },
  { title: "Salt", kind: "sea", sky: ["#fbe9d7", "#f4b8a0"], land: "#31505f", sun: [200, 118], tall: 1.2 },
  { title: "Harbour lamps", kind: "night", sky: ["#1b1430", "#56306b"], land: "#0d0918", sun: [60, 50], tall: 0.85 },
  { title: "Snow, then none", kind: "mountain", sky: ["#dfe9f5", "#9db8d9"], land: "#4b5f7e", sun: [300, 60], tall: 0.95 },
  { title: "Blue hour", kind: "sea", sky: ["#22406f", "#6f93c4"], land: "#12233f", sun: [180, 100], tall: 0.7 },
  { title: "Above the fog", kind: "mountain", sky: ["#ffe2b8", "#f2a65a"], land: "#7a4e48", sun: [210, 70], tall: 1.15 },
  { title: "North, midnight", kind: "night", sky: ["#06202b", "#136a66"], land: "#031016", sun: [100, 40], tall: 1.2 },
  { title: "Waiting for rain", kind: "sea", sky: ["#b9bec6", "#7d8794"], land: "#3f4853", sun: [280, 60], tall: 0.9 },
  { title: "Last house", kind: "night", sky: ["#2b1a2f", "#9c4a4f"], land: "#140b16", sun: [230, 110], tall: 0.8 },
];

const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

function shape(name, attributes, parent) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent?.append(element);
  return element;
}

/** A line of hills that is the same each time for the same picture. */
function hills(seed, base, rough, width, height) {
  let at = seed * 97 + 13;
  const random = () => ((at = (at * 1103515245 + 12345) % 2147483648) / 2147483648);
  let path = `M0 ${base}`;
  for (let x = 0; x <= width; x += width / 8) path += ` L${x} ${base - random() * rough}`;
  return `${path} L${width} ${height} L0 ${height}Z`;
}

function draw(picture, number) {
  if (picture.file) {
    const image = document.createElement("img");
    image.src = picture.file;
    image.alt = picture.title;
    return image;
  }
  const [width, height] = [360, Math.round(360 * picture.tall)];
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": picture.title });
  const id = `sky-${number}-${Math.random().toString(36).slice(2)}`;
  const sky = shape("linearGradient", { id, x1: 0, y1: 0, x2: 0, y2: 1 }, shape("defs", {}, svg));
  shape("stop", { offset: 0, "stop-color": picture.sky[0] }, sky);
  shape("stop", { offset: 1, "stop-color": picture.sky[1] }, sky);
  shape("rect", { width, height, fill: `url(#${id})` }, svg);
  const [x, y] = picture.sun;
  shape("circle", { cx: x, cy: y * picture.tall, r: picture.kind === "night" ? 12 : 30, fill: "#fff7e6", opacity: 0.9 }, svg);
  if (picture.kind === "night") {
    for (let star = 0; star < 40; star += 1) {
      shape("circle", { cx: (star * 89 + number * 31) % width, cy: (star * 53 + number * 17) % (height * 0.6), r: star % 5 === 0 ? 1.4 : 0.7, fill: "#fff", opacity: 0.8 }, svg);
    }
  }
  const horizon = height * (picture.kind === "sea" ? 0.6 : 0.62);
  if (picture.kind === "sea") {
    shape("rect", { y: horizon, width, height, fill: picture.land }, svg);
    for (let wave = 0; wave < 9; wave += 1) {
      const top = horizon + 8 + wave * wave * 1.9;
      shape("path", { d: `M${(wave * 71) % 90} ${top}q40 -6 80 0t80 0t80 0`, fill: "none", stroke: "#fff", "stroke-width": 1 + wave * 0.15, opacity: 0.16 + wave * 0.02 }, svg);
    }
  } else {
    shape("path", { d: hills(number + 1, horizon, height * 0.34, width, height), fill: picture.land, opacity: 0.45 }, svg);
    shape("path", { d: hills(number + 5, horizon + height * 0.12, height * 0.24, width, height), fill: picture.land, opacity: 0.75 }, svg);
    shape("path", { d: hills(number + 9, horizon + height * 0.26, height * 0.16, width, height), fill: picture.land }, svg);
  }
  return svg;
}

let shown = "all";
const fits = (picture) => shown === "all" || picture.kind === shown;
const visible = () => PICTURES.map((_, number) => number).filter((number) => fits(PICTURES[number], number));

function showGrid() {
  const items = visible().map((number) => {
    const item = document.createElement("li");
    item.dataset.number = number;
    const open = document.createElement("button");
    open.type = "button";
    open.className = "open";
    const caption = document.createElement("span");
    caption.textContent = PICTURES[number].title;
    open.append(draw(PICTURES[number], number), caption);
    item.append(open);
    return item;
  });
  $("grid").replaceChildren(...items);
  $("none").hidden = items.length > 0;
}

let current = 0;
function showLarge(number) {
  const all = visible();
  current = number;
  $("stage").replaceChildren(draw(PICTURES[number], number));
  $("caption").textContent = PICTURES[number].title;
  $("count").textContent = `${all.indexOf(number) + 1} of ${all.length}`;
  if (!$("large").open) $("large").showModal();
}

function leaf(step) {
  const all = visible();
  showLarge(all[(all.indexOf(current) + step + all.length) % all.length]);
}

$("filters").addEventListener("click", (event) => {
  const button = event.target.closest("[data-show]");
  if (!button) return;
  shown = button.dataset.show;
  for (const other of $("filters").querySelectorAll("[data-show]")) other.setAttribute("aria-pressed", String(other === button));
  showGrid();
});
$("grid").addEventListener("click", (event) => {
  if (event.target.closest(".open")) showLarge(Number(event.target.closest("li").dataset.number));
});
$("before").addEventListener("click", () => leaf(-1));
$("after").addEventListener("click", () => leaf(1));
$("close").addEventListener("click", () => $("large").close());
$("large").addEventListener("keydown", (event) => {
  if (event.key === "ArrowRight") leaf(1);
  if (event.key === "ArrowLeft") leaf(-1);
});

let touched = null;
$("stage").addEventListener("pointerdown", (event) => (touched = event.clientX));
$("stage").addEventListener("pointerup", (event) => {
  const moved = event.clientX - (touched ?? event.clientX);
  if (Math.abs(moved) > 40) leaf(moved < 0 ? 1 : -1);
  touched = null;
});

$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText("mara@example.com");
    $("copied").textContent = "Copied.";
  } catch {
    $("copied").textContent = "The browser does not allow copying here: select the address instead.";
  }
});
showGrid();
