"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Tooltips.
  const tip = document.getElementById("tip");
  const place = (x, y) => {
    const box = tip.getBoundingClientRect();
    const left = x + 14 + box.width > innerWidth ? x - 14 - box.width : x + 14;
    const top = y + 14 + box.height > innerHeight ? y - 14 - box.height : y + 14;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, top)}px`;
  };
  const explain = (mark, x, y) => {
    tip.hidden = !mark;
    if (!mark) return;
    tip.textContent = mark.dataset.tip;
    place(x, y);
  };
  document.addEventListener("pointermove", (event) => {
    explain(event.target.closest?.("[data-tip]"), event.clientX, event.clientY);
  });
  document.addEventListener("focusin", (event) => {
    const mark = event.target.closest("[data-tip]");
    const box = mark?.getBoundingClientRect();
    explain(mark, box?.right ?? 0, box?.bottom ?? 0);
  });
  document.addEventListener("focusout", () => explain(null));

  // Panels: one of a section at a time.
  const show = (name) => {
    const panel = all("[data-panel]").find((one) => one.dataset.panel === name);
    if (!panel) return;
    for (const other of all("[data-panel]", panel.parentElement)) other.hidden = other !== panel;
    mark_chosen();
    panel.scrollIntoView({ block: "nearest", behavior: "smooth" });
  };
  const mark_chosen = () => {
    const shown = new Set(all("[data-panel]:not([hidden])").map((panel) => panel.dataset.panel));
    for (const mark of all(".mark[data-shows]")) mark.classList.toggle("chosen", shown.has(mark.dataset.shows));
  };
  mark_chosen();

  // A legend's key hides its series and shows it again.
  const toggle = (key) => {
    const pressed = key.getAttribute("aria-pressed") !== "true";
    key.setAttribute("aria-pressed", pressed);
    for (const series of all(".series", key.closest("figure"))) {
      if (series.dataset.series === key.dataset.series) series.toggleAttribute("hidden", !pressed);
    }
  };

  // Tables: the first click sorts numbers downwards and texts upwards, the next the other way.
  const compare = (a, b, numeric, down) => {
    if (!numeric) return a.textContent.localeCompare(b.textContent) * (down ? -1 : 1);
    const [x, y] = [a.dataset.sort, b.dataset.sort];
    if (x === "" || y === "") return (x === "") - (y === "");
    return (Number(x) - Number(y)) * (down ? -1 : 1);
  };
  const sort = (head) => {
    const column = [...head.parentElement.children].indexOf(head);
    const numeric = head.classList.contains("number");
    const before = head.getAttribute("aria-sort");
    const down = before ? before === "ascending" : numeric;
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = head.closest("table").tBodies[0];
    const rows = [...body.rows];
    rows.sort((one, other) => compare(one.cells[column], other.cells[column], numeric, down));
    body.append(...rows);
  };

  document.addEventListener("click", (event) => {
    const key = event.target.closest(".key");
    const head = event.target.closest("th button");
    const shows = event.target.closest("[data-shows]");
    if (key) toggle(key);
    else if (head) sort(head.closest("th"));
    else if (shows) show(shows.dataset.shows);
  });
  document.addEventListener("keydown", (event) => {
    const mark = event.target.closest?.(".mark[data-shows]");
    if (mark && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      show(mark.dataset.shows);
    }
  });
})();
