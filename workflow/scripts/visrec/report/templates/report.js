"use strict";
// The page is complete without this: it only makes the leaderboard's columns sortable.
for (const table of document.querySelectorAll("table.board")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const label = head.querySelector(".label") || head;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.textContent = label.textContent;
    label.replaceChildren(button);
    button.addEventListener("click", () => {
      const numeric = head.dataset.sort === "number";
      const now = head.getAttribute("aria-sort");
      const falling = now ? now === "ascending" : numeric; // numbers start with the greatest, names with A
      const value = (row) => row.cells[column].dataset.value;
      const number = (row) => { const found = parseFloat(value(row)); return Number.isNaN(found) ? -Infinity : found; };
      const order = numeric ? (a, b) => number(a) - number(b) : (a, b) => value(a).localeCompare(value(b));
      const rows = [...body.rows].sort((a, b) => (falling ? -order(a, b) : order(a, b)) || 0);
      body.append(...rows);
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
    });
  });
}
