// What the examples and the map build alike. All text goes in as text.
// They tell each other through events: `shown` (the examples show a picture) and `picked` (on the map).

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

// A picture of a chapter by its number, cut from the chapter's sheet.
function pictureOf(data, chapter, number) {
  const about = data.pictures[number];
  const made = element("span", `pic ${chapter}`);
  const share = (at, count) => `${(100 * at) / Math.max(1, count - 1)}%`;
  const [column, row] = [number % data.columns, Math.floor(number / data.columns)];
  made.style.backgroundPosition = `${share(column, data.columns)} ${share(row, data.rows)}`;
  made.setAttribute("role", "img");
  made.setAttribute("aria-label", `${about.split} picture ${about.id}${about.label && `, label ${about.label}`}`);
  return made;
}

function captionOf(about, kind) {
  const caption = document.createElement("p");
  const small = about.label ? `${kind} ${about.id}` : kind;
  caption.append(element("b", "", about.label || about.id), element("small", "", small));
  return caption;
}
