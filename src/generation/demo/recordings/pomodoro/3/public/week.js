"use strict";

// Finished rounds of the last seven days, today last.
(() => {
  function show() {
    const days = Array.from({ length: 7 }, (_, ago) => new Date(Date.now() - (6 - ago) * 86400000));
    const counts = days.map((day) => history[dayOf(day)] ?? 0);
    const most = Math.max(4, ...counts);
    const name = new Intl.DateTimeFormat(undefined, { weekday: "short" });
    $("week").replaceChildren(...days.map((day, at) => {
      const item = document.createElement("li");
      const count = document.createElement("b");
      count.textContent = counts[at] > 0 ? String(counts[at]) : "";
      const bar = document.createElement("span");
      bar.className = "bar";
      bar.style.height = `${(counts[at] / most) * 100}%`;
      const label = document.createElement("small");
      label.textContent = name.format(day);
      item.append(count, bar, label);
      return item;
    }));
  }
  document.addEventListener("round", show);
  show();
})();
