"use strict";
// The page is complete without this: it makes the leaderboard sortable and long tables shorter.

function sortable(table, choice, sorted) {
  const heads = [...table.tHead.rows[0].cells].filter((head) => head.querySelector(".label"));
  const bodies = [...table.tBodies].filter((body) => body.classList.contains("rows"));
  const names = heads.map((head) => head.querySelector(".label").textContent);
  const sort = (column, falling) => {
    const numeric = heads[column].dataset.sort === "number";
    const value = (row) => row.cells[column].dataset.value;
    const number = (row) => { const found = parseFloat(value(row)); return Number.isNaN(found) ? -Infinity : found; };
    const order = numeric ? (a, b) => number(a) - number(b) : (a, b) => value(a).localeCompare(value(b));
    for (const body of bodies) { // chance and the most common class are bodies of their own, and stay
      const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
      body.append(...rows.sort((a, b) => (falling ? -order(a, b) : order(a, b)) || 0));
    }
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    heads[column].setAttribute("aria-sort", falling ? "descending" : "ascending");
    if (choice) choice.value = String(column);
  };
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.textContent = names[column];
    head.querySelector(".label").replaceChildren(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort"); // numbers start with the greatest, names with A
      sort(column, now ? now === "ascending" : head.dataset.sort === "number");
    });
    if (choice) choice.append(new Option(names[column], String(column)));
  });
  if (choice) {
    choice.addEventListener("change", () => sort(Number(choice.value), heads[choice.value].dataset.sort === "number"));
  }
  if (sorted === undefined) return;
  heads[sorted].setAttribute("aria-sort", "descending"); // as the page is written
  if (choice) choice.value = String(sorted);
}

function filterable(form, update) {
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  for (const kind of ["input", "change"]) form.addEventListener(kind, (event) => { if (event.target.name !== "sort") update(); });
}

const board = document.getElementById("board");
const boardFilter = document.getElementById("board-filter");
sortable(board, boardFilter.elements.sort, 1);
const showBoard = () => {
  const chosen = (name) => (boardFilter.elements[name] ? boardFilter.elements[name].value : "");
  const off = new Set([...boardFilter.querySelectorAll("input[name=encoder]:not(:checked)")].map((box) => box.value));
  let shown = 0, all = 0;
  for (const part of document.querySelectorAll("#leaderboard [data-dataset]")) {
    part.hidden = ["dataset", "size"].some((name) => chosen(name) && chosen(name) !== part.dataset[name]);
    for (const row of part.querySelectorAll("tr[data-encoder]")) {
      row.hidden = off.has(row.dataset.encoder); // random and pixels have no box to switch them off
      all += 1;
      shown += !part.hidden && !row.hidden;
    }
  }
  boardFilter.querySelector("output").textContent = `${shown} of ${all} rows`;
};
filterable(boardFilter, showBoard);
showBoard();

const runFilter = document.getElementById("run-filter");
sortable(document.getElementById("runs-table"), runFilter && runFilter.elements.sort);
if (runFilter) {
  const rows = [...document.getElementById("runs-table").tBodies[0].rows];
  const texts = rows.map((row) => row.textContent.toLowerCase());
  const showRuns = () => {
    const wanted = runFilter.elements.find.value.toLowerCase().trim();
    rows.forEach((row, at) => {
      row.hidden = !texts[at].includes(wanted) || (runFilter.elements.failed.checked && row.dataset.scored === "yes");
    });
    const shown = rows.filter((row) => !row.hidden).length;
    runFilter.querySelector("output").textContent = `${shown} of ${rows.length} trials`;
  };
  filterable(runFilter, () => { document.querySelector("#runs .whole").open = true; showRuns(); });
  showRuns();
}

// A box takes the Tab key only where it scrolls.
const boxes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const box = target.closest(".scroll");
    if (box.scrollWidth > box.clientWidth + 1) box.setAttribute("tabindex", "0");
    else box.removeAttribute("tabindex");
  }
});
for (const box of document.querySelectorAll(".scroll")) {
  boxes.observe(box);
  for (const inside of box.children) boxes.observe(inside);
}

// What is folded is printed all the same, and folded again afterwards; of many runs their sources stay folded.
const folded = new Set();
const unfold = () => {
  for (const one of document.querySelectorAll("details:not([open])")) {
    if (one.closest(".runs.many td")) continue;
    folded.add(one);
    one.open = true;
  }
};
const fold = () => {
  for (const one of folded) one.open = false;
  folded.clear();
};
matchMedia("print").addEventListener("change", ({ matches }) => (matches ? unfold() : fold()));
addEventListener("beforeprint", unfold);
addEventListener("afterprint", fold);

// A link into a folded part unfolds it.
const reveal = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  const own = target.querySelector(":scope > details.fold");
  for (let one = own || target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
};
addEventListener("hashchange", reveal);
for (const link of document.querySelectorAll('a[href^="#"]')) link.addEventListener("click", () => setTimeout(reveal));
reveal();
