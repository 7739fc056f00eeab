"use strict";

// Opening and closing hour of each day, Sunday first. No hours: closed.
const HOURS = [[8, 12], null, [7, 18], [7, 18], [7, 18], [7, 18], [7, 14]];
const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

const BREADS = {
  mill: { name: "Mill loaf", price: 5.4, about: "Wheat and rye, twenty hours of rest, a crust that sings." },
  rye: { name: "Dark rye", price: 5.9, about: "Whole rye and caraway. Keeps for a week, if you let it." },
  country: { name: "Country round", price: 6.2, about: "Wheat sourdough with an open crumb." },
  seed: { name: "Seven seeds", price: 6.6, about: "Sunflower, flax, sesame and friends, soaked overnight." },
  rolls: { name: "Morning rolls", price: 0.9, about: "Crisp until noon. Best still warm." },
  braid: { name: "Butter braid", price: 7.5, about: "Sweet and soft, for slow breakfasts." },
  spelt: { name: "Spelt tin", price: 6.4, about: "Mild and moist, with a spoon of honey." },
  olive: { name: "Olive ring", price: 5.8, about: "Green olives, rosemary, good oil." },
  buns: { name: "Cinnamon buns", price: 3.2, about: "Rolled by hand, brushed with syrup while hot." },
};

const WEEK = [
  ["rolls", "braid", "country", "buns"],
  [],
  ["mill", "rye", "rolls", "spelt"],
  ["mill", "country", "rolls", "seed"],
  ["mill", "rye", "rolls", "olive"],
  ["mill", "country", "seed", "rolls", "olive"],
  ["mill", "rye", "country", "rolls", "braid", "buns"],
];

const euros = new Intl.NumberFormat("en", { style: "currency", currency: "EUR" });
const today = new Date().getDay();

function make(name, text, attributes = {}) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

const oclock = (hour) => `${String(Math.floor(hour)).padStart(2, "0")}:${hour % 1 ? "30" : "00"}`;

// Open or closed, by the visitor's clock.
function tellOpen() {
  const now = new Date();
  const hour = now.getHours() + now.getMinutes() / 60;
  const hours = HOURS[now.getDay()];
  const place = document.getElementById("open");
  if (hours && hour >= hours[0] && hour < hours[1]) {
    place.dataset.state = "open";
    place.textContent = `Open now, until ${oclock(hours[1])}`;
    return;
  }
  place.dataset.state = "closed";
  for (let ahead = 0; ahead < 8; ahead += 1) {
    const day = (now.getDay() + ahead) % 7;
    const next = HOURS[day];
    if (!next || (ahead === 0 && hour >= next[0])) continue;
    const when = ahead === 0 ? "today" : ahead === 1 ? "tomorrow" : `on ${DAYS[day]}`;
    place.textContent = `Closed now, open ${when} at ${oclock(next[0])}`;
    return;
  }
}

function showBreads(day) {
  for (const tab of document.querySelectorAll("#days button")) {
    const isShown = Number(tab.dataset.day) === day;
    tab.setAttribute("aria-selected", String(isShown));
    tab.tabIndex = isShown ? 0 : -1;
  }
  document.getElementById("breads-title").textContent = day === today ? "Today's breads" : `Breads on ${DAYS[day]}`;
  const items = WEEK[day].map((id) => {
    const bread = BREADS[id];
    const item = make("li");
    item.dataset.bread = id;
    item.append(make("h3", bread.name), make("span", euros.format(bread.price), { class: "price" }), make("p", bread.about));
    return item;
  });
  if (items.length === 0) {
    const item = make("li");
    item.append(make("h3", "We sleep in on Mondays"), make("p", "The oven cools, the sourdough rests. See you on Tuesday at seven."));
    items.push(item);
  }
  document.getElementById("list").replaceChildren(...items);
}

const tabs = document.getElementById("days");
const order = [1, 2, 3, 4, 5, 6, 0];
for (const day of order) {
  const tab = make("button", day === today ? "Today" : DAYS[day].slice(0, 3), { type: "button", role: "tab", "aria-controls": "list", "aria-label": DAYS[day] });
  tab.dataset.day = day;
  tabs.append(tab);
}
tabs.addEventListener("click", (event) => {
  const tab = event.target.closest("button");
  if (tab) showBreads(Number(tab.dataset.day));
});
tabs.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const all = [...tabs.children];
  const next = all[(all.indexOf(document.activeElement) + step + all.length) % all.length];
  next.focus();
  showBreads(Number(next.dataset.day));
});

for (const day of order) {
  const row = make("tr");
  if (day === today) row.setAttribute("aria-current", "date");
  const hours = HOURS[day];
  row.append(make("th", DAYS[day], { scope: "row" }), make("td", hours ? `${oclock(hours[0])} – ${oclock(hours[1])}` : "closed"));
  document.getElementById("week").append(row);
}

showBreads(today);
tellOpen();
setInterval(tellOpen, 30000);
