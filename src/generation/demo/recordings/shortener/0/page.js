"use strict";

const $ = (id) => document.getElementById(id);
const origin = location.href.replace(/\/[^/]*$/, "");
const shortOf = (code) => `${origin}/${code}`;
document.querySelector("[data-origin]").textContent = origin;

/** Calls the API; its answer, or an error with a sentence for people. */
async function call(method, path, body) {
  const answer = await fetch(`${origin}${path}`, {
    method,
    headers: body ? { "content-type": "application/json" } : {},
    body: body && JSON.stringify(body),
  });
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const { detail } = await answer.json().catch(() => ({}));
  throw new Error(typeof detail === "string" ? detail : "That is no link: it begins with http:// or https://.");
}

function line(link) {
  const item = document.createElement("li");
  const where = document.createElement("div");
  const anchor = document.createElement("a");
  anchor.href = shortOf(link.code);
  anchor.target = "_blank";
  anchor.rel = "noopener";
  anchor.textContent = `/${link.code}`;
  const target = document.createElement("small");
  target.textContent = link.url;
  where.append(anchor, target);
  const visits = document.createElement("b");
  visits.textContent = `${link.visits} ${link.visits === 1 ? "visit" : "visits"}`;
  const remove = document.createElement("button");
  remove.type = "button";
  remove.className = "plain";
  remove.textContent = "Delete";
  remove.setAttribute("aria-label", `Delete ${link.code}`);
  remove.addEventListener("click", () => run(() => call("DELETE", `/links/${link.code}`)));
  item.append(where, visits, remove);
  return item;
}

async function show() {
  const links = await call("GET", "/links");
  $("links").replaceChildren(...links.map(line));
  $("empty").hidden = links.length > 0;
}

async function run(act) {
  try {
    await act();
    $("problem").hidden = true;
    await show();
  } catch (error) {
    $("problem").textContent = error.message;
    $("problem").hidden = false;
  }
}

/** What the form asks for. */
const wanted = () => ({ url: $("url").value.trim() });

$("make").addEventListener("submit", (event) => {
  event.preventDefault();
  run(async () => {
    const link = await call("POST", "/links", wanted());
    $("short").href = shortOf(link.code);
    $("short").textContent = shortOf(link.code);
    $("made").hidden = false;
    event.target.reset();
  });
});

$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("short").textContent);
    $("copy").textContent = "Copied";
  } catch {
    getSelection().selectAllChildren($("short"));
    $("copy").textContent = "Press Ctrl+C";
  }
  setTimeout(() => ($("copy").textContent = "Copy"), 2000);
});

// A link that was followed in another tab has one more visit.
addEventListener("focus", () => run(async () => {}));
run(async () => {});
