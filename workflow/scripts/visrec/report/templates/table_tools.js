// Every table can be had as CSV, every heading as a link, and text in boxes can be copied.

function cellText(cell) {
  const copy = cell.cloneNode(true);
  for (const hidden of copy.querySelectorAll("[aria-hidden=true], details, svg, script")) hidden.remove();
  for (const marked of copy.querySelectorAll(".word, .state")) marked.textContent = marked.textContent.replace(/^\S\s/, "");
  const walker = document.createTreeWalker(copy, NodeFilter.SHOW_TEXT);
  const words = [];
  while (walker.nextNode()) words.push(walker.currentNode.data);
  const numbers = words.join(" ").replace(/(\d),(?=\d{3})/g, "$1"); // thousands without what parts them
  const text = numbers.replace(/\s+/g, " ").trim(); // \s is a no-break space, too
  // What a spreadsheet would calculate, but for plain numbers, stays text.
  return /^[=@＝＠]|^[+\-＋－](?![\d.,]+( %)?$)/.test(text) ? `'${text}` : text;
}

function csvOf(table) {
  const rows = [...table.rows].filter((row) => !row.hidden && !(row.parentNode.hidden));
  const line = (row) => [...row.cells].flatMap((cell) => [cellText(cell), ...Array(cell.colSpan - 1).fill("")]);
  const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  return rows.map((row) => line(row).map(quoted).join(",")).join("\r\n") + "\r\n";
}

function save(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["\ufeff", text], { type: "text/csv;charset=utf-8" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

for (const region of document.querySelectorAll(".scroll")) {
  const table = region.querySelector("table");
  if (!table) continue;
  const name = region.getAttribute("aria-label");
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "CSV";
  button.setAttribute("aria-label", `Download as CSV: ${name}`);
  button.addEventListener("click", () => save(csvOf(table), `${name.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "")}.csv`));
  const tools = document.createElement("p");
  tools.className = "tools";
  tools.append(button);
  region.append(tools);
}

for (const section of document.querySelectorAll("section[id]")) {
  const heading = section.querySelector("h2:not(.hidden)");
  if (!heading) continue;
  const link = document.createElement("a");
  link.className = "anchor";
  link.href = `#${section.id}`;
  link.textContent = "#";
  link.setAttribute("aria-label", `Link to ${heading.textContent}`);
  heading.append(link);
}

for (const box of document.querySelectorAll("[data-copy]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "copy";
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    getSelection().selectAllChildren(box.querySelector("code"));
    button.textContent = document.execCommand("copy") ? "Copied" : "Selected"; // also without https
  });
  box.before(button);
}
