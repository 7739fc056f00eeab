"use strict";

const $ = (id) => document.getElementById(id);
const GOAL = 2048;

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

let size = 4;
// Tiles with an id of their own, so that they can be seen to move.
let tiles = [];
let score = 0;
let hasWon = false;
let nextId = 1;

const bestKey = () => `best-${size}`;
const at = (row, column) => tiles.find((tile) => tile.row === row && tile.column === column);

function addTile() {
  const free = [];
  for (let row = 0; row < size; row += 1) {
    for (let column = 0; column < size; column += 1) if (!at(row, column)) free.push([row, column]);
  }
  if (free.length === 0) return;
  const [row, column] = free[Math.floor(Math.random() * free.length)];
  tiles.push({ id: nextId, row, column, value: Math.random() < 0.9 ? 2 : 4, isFresh: true });
  nextId += 1;
}

function newGame() {
  tiles = [];
  score = 0;
  hasWon = false;
  addTile();
  addTile();
  show();
  $("said").textContent = "A new game.";
}

const STEPS = { left: [0, -1], right: [0, 1], up: [-1, 0], down: [1, 0] };

/** The tiles after a slide, and what it scored; none where nothing moves. */
function slid(direction) {
  const [down, right] = STEPS[direction];
  const forward = down + right > 0;
  const along = (tile) => (down !== 0 ? tile.row : tile.column);
  const across = (tile) => (down !== 0 ? tile.column : tile.row);
  const after = [];
  let gained = 0;
  let moved = false;
  for (let line = 0; line < size; line += 1) {
    const inLine = tiles.filter((tile) => across(tile) === line).sort((a, b) => (along(a) - along(b)) * (forward ? -1 : 1));
    const placed = [];
    for (const tile of inLine) {
      const last = placed.at(-1);
      if (last && !last.isMerged && last.value === tile.value) {
        last.value *= 2;
        last.isMerged = true;
        // The tile that moves is the one that is seen to stay.
        last.id = tile.id;
        gained += last.value;
        moved = true;
      } else {
        placed.push({ id: tile.id, value: tile.value, from: along(tile) });
      }
    }
    placed.forEach((tile, nth) => {
      const place = forward ? size - 1 - nth : nth;
      moved ||= tile.from !== place;
      const [row, column] = down !== 0 ? [place, line] : [line, place];
      after.push({ id: tile.id, value: tile.value, isMerged: tile.isMerged, row, column });
    });
  }
  return moved ? { after, gained } : null;
}

function move(direction) {
  if (!$("over").hidden) return;
  const result = slid(direction);
  if (!result) return;
  document.dispatchEvent(new CustomEvent("before-move"));
  tiles = result.after;
  score += result.gained;
  addTile();
  show();
  $("said").textContent = `${direction}. ${result.gained > 0 ? `${result.gained} points. ` : ""}Score ${score}.`;
}

const isStuck = () => !Object.keys(STEPS).some((direction) => slid(direction));

function tell(words, mayGoOn) {
  $("over-words").textContent = words;
  $("on").hidden = !mayGoOn;
  $("over").hidden = false;
  $("said").textContent = words;
}

function show() {
  const board = $("board");
  board.style.setProperty("--n", size);
  if (board.querySelectorAll(".cell").length !== size * size) {
    board.replaceChildren(...Array.from({ length: size * size }, (_, nth) => {
      const cell = document.createElement("div");
      cell.className = "cell";
      cell.style.setProperty("--row", Math.floor(nth / size));
      cell.style.setProperty("--column", nth % size);
      return cell;
    }));
  }
  const there = new Map([...board.querySelectorAll(".tile")].map((tile) => [tile.dataset.id, tile]));
  for (const { id, value, row, column, isFresh, isMerged } of tiles) {
    const element = there.get(String(id)) ?? document.createElement("div");
    there.delete(String(id));
    const power = Math.log2(value);
    element.dataset.id = id;
    element.dataset.value = value;
    element.textContent = value;
    element.className = `tile${isFresh ? " fresh" : ""}${isMerged ? " merged" : ""}`;
    element.style.setProperty("--row", row);
    element.style.setProperty("--column", column);
    element.style.setProperty("--hue", String(258 + power * 17));
    element.style.setProperty("--light", power < 4 ? `${92 - power * 6}%` : `${Math.max(34, 56 - (power - 4) * 3)}%`);
    element.style.setProperty("--on-tile", power < 4 ? "#241d3b" : "#ffffff");
    element.style.setProperty("--fit", String(Math.min(1, 2.6 / String(value).length)));
    if (!element.isConnected) board.append(element);
  }
  for (const gone of there.values()) gone.remove();
  const best = Math.max(kept(bestKey(), 0), score);
  keep(bestKey(), best);
  keep("game", { size, tiles, score, hasWon });
  $("score").textContent = score;
  $("best").textContent = best;
  $("over").hidden = true;
  if (!hasWon && tiles.some((tile) => tile.value >= GOAL)) {
    hasWon = true;
    tell(`${GOAL}! You did it.`, true);
  } else if (isStuck()) {
    tell(`No move is left. ${score} points.`, false);
  }
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, input")) return;
  const keys = { arrowleft: "left", a: "left", arrowright: "right", d: "right", arrowup: "up", w: "up", arrowdown: "down", s: "down" };
  const direction = keys[event.key.toLowerCase()];
  if (!direction) return;
  event.preventDefault();
  move(direction);
});

let from = null;
$("board").addEventListener("pointerdown", (event) => {
  from = [event.clientX, event.clientY];
  $("board").setPointerCapture(event.pointerId);
});
$("board").addEventListener("pointerup", (event) => {
  if (!from) return;
  const [right, down] = [event.clientX - from[0], event.clientY - from[1]];
  from = null;
  if (Math.max(Math.abs(right), Math.abs(down)) < 24) return;
  if (Math.abs(right) > Math.abs(down)) move(right > 0 ? "right" : "left");
  else move(down > 0 ? "down" : "up");
});
for (const button of document.querySelectorAll("[data-move]")) button.addEventListener("click", () => move(button.dataset.move));
$("new").addEventListener("click", newGame);
$("again").addEventListener("click", newGame);
$("on").addEventListener("click", () => {
  $("over").hidden = true;
  $("board").focus();
});

const game = kept("game", null);
if (game && Array.isArray(game.tiles) && game.tiles.length > 1) {
  ({ size, tiles, score, hasWon } = game);
  nextId = Math.max(...tiles.map((tile) => tile.id)) + 1;
  show();
} else {
  newGame();
}
