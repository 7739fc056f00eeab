"use strict";

// Parts that can be added to any page: a table, a form, a counter, a list. What visitors enter stays in their browser.
(() => {
  const read = (key, otherwise) => {
    try {
      return JSON.parse(localStorage.getItem(key)) ?? otherwise;
    } catch {
      return otherwise;
    }
  };
  const keep = (key, value) => {
    try {
      localStorage.setItem(key, JSON.stringify(value));
    } catch {
      // Private windows may keep nothing: it then lasts as long as the page.
    }
  };
  const make = (name, text, attributes = {}) => {
    const element = document.createElement(name);
    if (text !== undefined) element.textContent = text;
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  };

  function table(part) {
    const body = part.querySelector("tbody");
    const form = part.querySelector("form");
    const fields = [...form.querySelectorAll("input")];
    const empty = part.querySelector("[data-empty]");
    let rows = read("part-table", []);
    if (!Array.isArray(rows)) rows = [];
    const show = () => {
      body.replaceChildren(...rows.map((row, at) => {
        const line = make("tr");
        fields.forEach((_, column) => line.append(make("td", String(row[column] ?? ""))));
        const remove = make("button", "Remove", { type: "button", class: "plain", "aria-label": `Remove ${row[0]}` });
        remove.addEventListener("click", () => {
          rows = rows.filter((_, other) => other !== at);
          change();
          fields[0].focus();
        });
        const cell = make("td");
        cell.append(remove);
        line.append(cell);
        return line;
      }));
      empty.hidden = rows.length > 0;
    };
    const change = () => {
      keep("part-table", rows);
      show();
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      rows = [...rows, fields.map((field) => field.value.trim())].slice(-200);
      form.reset();
      change();
      fields[0].focus();
    });
    show();
  }

  function form(part) {
    const fields = part.querySelector("form");
    const said = part.querySelector("[data-said]");
    fields.addEventListener("submit", (event) => {
      event.preventDefault();
      const { name, email, message } = Object.fromEntries(new FormData(fields));
      const text = `${message}\n\n${name}\n${email}`;
      const mail = make("a", "Open it in your mail program", {
        href: `mailto:?subject=${encodeURIComponent(document.title)}&body=${encodeURIComponent(text)}`,
      });
      said.replaceChildren(make("strong", `Thank you, ${name}. `), "Your message is ready. ", mail, ".");
    });
  }

  function counter(part) {
    const shown = part.querySelector("output");
    let count = Number(read("part-counter", 0)) || 0;
    const show = () => (shown.textContent = String(count));
    for (const button of part.querySelectorAll("[data-step]")) {
      button.addEventListener("click", () => {
        const step = Number(button.dataset.step);
        count = step === 0 ? 0 : count + step;
        keep("part-counter", count);
        show();
      });
    }
    show();
  }

  function list(part) {
    const done = new Set(read("part-list", []));
    for (const box of part.querySelectorAll("input")) {
      box.checked = done.has(box.value);
      box.addEventListener("change", () => {
        if (box.checked) done.add(box.value);
        else done.delete(box.value);
        keep("part-list", [...done]);
      });
    }
  }

  for (const [name, start] of Object.entries({ table, form, counter, list })) {
    const part = document.getElementById(`part-${name}`);
    if (part) start(part);
  }
})();
