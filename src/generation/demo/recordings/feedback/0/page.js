"use strict";

const $ = (id) => document.getElementById(id);
const NAMES = ["Bad", "Meh", "Fine", "Good", "Great"];

async function call(method, path, body) {
  const answer = await fetch(path, {
    method,
    headers: body ? { "content-type": "application/json" } : {},
    body: body && JSON.stringify(body),
  });
  const data = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(typeof data.detail === "string" ? data.detail : "That could not be sent. Pick a face first.");
  return data;
}

function showSummary({ count, average, by_rating: times }) {
  $("average").textContent = average === null ? "–" : average.toFixed(1);
  $("count").textContent = `${count} ${count === 1 ? "answer" : "answers"}`;
  const most = Math.max(1, ...Object.values(times));
  $("bars").replaceChildren(...[5, 4, 3, 2, 1].map((rating) => {
    const item = document.createElement("li");
    const track = document.createElement("span");
    const bar = document.createElement("i");
    bar.style.width = `${(times[rating] / most) * 100}%`;
    track.append(bar);
    const number = document.createElement("b");
    number.textContent = times[rating];
    item.append(NAMES[rating - 1], track, number);
    return item;
  }));
}

function line(answer) {
  const item = document.createElement("li");
  const head = document.createElement("strong");
  head.textContent = NAMES[answer.rating - 1];
  const when = document.createElement("small");
  when.textContent = ` · ${new Date(answer.at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" })}`;
  item.append(head, when);
  if (answer.comment) {
    const words = document.createElement("div");
    words.textContent = answer.comment;
    item.append(words);
  }
  return item;
}

async function show() {
  const [summary, answers] = await Promise.all([call("GET", "summary"), call("GET", "feedback")]);
  showSummary(summary);
  $("answers").replaceChildren(...answers.map(line));
  $("empty").hidden = answers.length > 0;
}

/** What the form says. */
const entered = (form) => ({ rating: Number(form.get("rating")), comment: form.get("comment") });

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await call("POST", "feedback", entered(new FormData(event.target)));
    event.target.reset();
    $("said").textContent = "Thank you. Your answer is in.";
    await show();
  } catch (error) {
    $("said").textContent = error.message;
  }
});

show();
