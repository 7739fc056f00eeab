"use strict";

const $ = (id) => document.getElementById(id);

/** Calls the API; its answer, or an error with a sentence for people. */
async function call(method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: body ? { "content-type": "application/json" } : {},
    body: body && JSON.stringify(body),
  });
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const { detail } = await answer.json().catch(() => ({}));
  throw new Error(typeof detail === "string" ? detail : `The API answered ${answer.status}.`);
}

function button(text, act) {
  const element = document.createElement("button");
  element.type = "button";
  element.className = "plain";
  element.textContent = text;
  element.addEventListener("click", () => run(act));
  return element;
}

async function show() {
  const items = await call("GET", "items");
  $("items").replaceChildren(...items.map(({ id, name, done }) => {
    const line = document.createElement("li");
    line.className = done ? "done" : "";
    const text = document.createElement("span");
    text.textContent = name;
    line.append(
      text,
      button(done ? "Open again" : "Done", () => call("PUT", `items/${id}`, { name, done: !done })),
      button("Delete", () => call("DELETE", `items/${id}`)),
    );
    return line;
  }));
  $("empty").hidden = items.length > 0;
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

$("add").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("name").value.trim();
  if (name) run(() => call("POST", "items", { name }).then(() => event.target.reset()));
});
run(async () => {});
