"use strict";

// The basket of reserved breads: kept in this browser, shown at the counter by its code.
(() => {
  const list = document.getElementById("list");
  const words = document.getElementById("basket-words");
  const clear = document.getElementById("basket-clear");
  let basket = {};
  try {
    basket = JSON.parse(localStorage.getItem("basket")) ?? {};
  } catch {
    basket = {};
  }

  function code(entries) {
    // Short enough to say, and the same for the same basket.
    let sum = 7;
    for (const [id, count] of entries) for (const letter of id + count) sum = (sum * 31 + letter.codePointAt(0)) % 46656;
    return sum.toString(36).toUpperCase().padStart(3, "0");
  }

  function show() {
    const entries = Object.entries(basket).filter(([id, count]) => BREADS[id] && count > 0).sort();
    clear.hidden = entries.length === 0;
    if (entries.length === 0) {
      words.textContent = "Nothing reserved yet. Press Reserve at a bread.";
      return;
    }
    const sum = entries.reduce((total, [id, count]) => total + BREADS[id].price * count, 0);
    const what = entries.map(([id, count]) => `${count} × ${BREADS[id].name}`).join(", ");
    words.replaceChildren(`${what}: ${euros.format(sum)}. Say this code at the counter: `, make("code", code(entries)));
  }

  function keep() {
    try {
      localStorage.setItem("basket", JSON.stringify(basket));
    } catch {
      // Private windows may keep nothing: the basket then lasts as long as the page.
    }
    show();
  }

  function addButtons() {
    for (const item of list.querySelectorAll("[data-bread]:not(:has(.reserve))")) {
      item.append(make("button", "Reserve", { class: "button reserve", type: "button", "aria-label": `Reserve ${BREADS[item.dataset.bread].name}` }));
    }
  }

  list.addEventListener("click", (event) => {
    const button = event.target.closest(".reserve");
    if (!button) return;
    const id = button.closest("[data-bread]").dataset.bread;
    basket[id] = Math.min(20, (basket[id] ?? 0) + 1);
    keep();
  });
  clear.addEventListener("click", () => {
    basket = {};
    keep();
  });
  new MutationObserver(addButtons).observe(list, { childList: true });
  addButtons();
  show();
})();
