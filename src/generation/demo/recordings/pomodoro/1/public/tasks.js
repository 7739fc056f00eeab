"use strict";

// Tasks: the chosen one collects the finished rounds.
(() => {
  let tasks = kept("tasks", []);
  let chosen = kept("chosen-task", null);

  function show() {
    $("tasks").replaceChildren(...tasks.map(({ id, name, rounds }) => {
      const item = document.createElement("li");
      const label = document.createElement("label");
      const radio = document.createElement("input");
      radio.type = "radio";
      radio.name = "task";
      radio.checked = id === chosen;
      radio.addEventListener("change", () => {
        chosen = id;
        keep("chosen-task", chosen);
      });
      const count = document.createElement("b");
      count.textContent = rounds > 0 ? `× ${rounds}` : "";
      label.append(radio, name, count);
      const remove = document.createElement("button");
      remove.type = "button";
      remove.textContent = "×";
      remove.setAttribute("aria-label", `Remove ${name}`);
      remove.addEventListener("click", () => change(tasks.filter((task) => task.id !== id)));
      item.append(label, remove);
      return item;
    }));
    $("no-tasks").hidden = tasks.length > 0;
  }

  function change(next) {
    tasks = next.slice(-30);
    keep("tasks", tasks);
    show();
  }

  $("task-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = $("task").value.trim();
    if (name === "") return;
    const id = Date.now();
    if (!tasks.some((task) => task.id === chosen)) {
      chosen = id;
      keep("chosen-task", chosen);
    }
    change([...tasks, { id, name, rounds: 0 }]);
    event.target.reset();
  });
  document.addEventListener("round", () => {
    change(tasks.map((task) => (task.id === chosen ? { ...task, rounds: task.rounds + 1 } : task)));
  });
  show();
})();
