// The grid: every score over the settings, coloured by what can be said of each beside the chosen setting.
for (const root of document.querySelectorAll(".heat")) {
  const { scores, encoders } = JSON.parse(root.querySelector("script").textContent);
  const [score, split, says] = [".score", ".split", ".says"].map((each) => root.querySelector(each));
  const tables = [...root.querySelectorAll(".cells")];
  const PALEST = 35; // percent, of a difference that is measurable at all

  const head = (words, scope) => {
    const made = document.createElement(words ? "th" : "td"); // a heading without words is none
    if (words) made.scope = scope;
    else made.className = "none";
    made.textContent = words;
    return made;
  };
  const place = (axis, value) => [axis, value].filter(Boolean).join(" ");

  const draw = () => {
    const { name, share } = scores[score.value];
    const number = (value) => (share ? (100 * value).toFixed(1) : value.toFixed(2)).replace("-", "\u2212");
    const words = (value) => number(value) + (share ? "\u00a0%" : "");
    const all = encoders.map((encoder) => encoder.values[split.value][score.value]);
    const range = (values) => {
      const some = values.flat().filter((value) => value !== null);
      return some.length ? `${words(Math.min(...some))} to ${words(Math.max(...some))}` : "nothing measured";
    };
    const title = `${name} on ${split.selectedOptions[0].text}`;
    says.textContent = `${title}: ${range(all.flat())}`; // heard; the captions are seen
    encoders.forEach((encoder, at) => {
      const { across, down, columns, rows, state, marks } = encoder;
      const [spans, beside] = [encoder.spans, encoder.beside].map((each) => each[split.value][score.value]);
      const places = rows.flatMap((_, y) => columns.map((_, x) => [y, x]));
      const chosen = places.find(([y, x]) => marks[y][x].startsWith("chosen"));
      const centre = chosen ? all[at][chosen[0]][chosen[1]] : null;
      const told = (y, x) => ["better", "worse"].includes(beside[y][x]) && centre !== null;
      const far = (y, x) => Math.abs(all[at][y][x] - centre);
      const furthest = Math.max(...places.filter(([y, x]) => told(y, x)).map(([y, x]) => far(y, x)), 0) || 1;
      tables[at].caption.textContent = `${encoder.name}: ${title}, ${range(all[at])}`;
      const top = document.createElement("tr");
      const named = columns.some(Boolean); // a list of settings has one column without a name
      tables[at].classList.toggle("list", !named);
      top.append(document.createElement("td"), ...columns.map((column) => head(place(across, column), "col")));
      tables[at].tHead.replaceChildren(...(named ? [top] : []));
      tables[at].tBodies[0].replaceChildren(...rows.map((row, y) => {
        const line = document.createElement("tr");
        line.append(head(place(down, row), "row"), ...columns.map((_, x) => {
          const cell = document.createElement("td");
          const value = all[at][y][x];
          cell.textContent = value === null ? state[y][x] || "\u2013" : words(value);
          if (value === null) cell.className = state[y][x] ? "bad" : "none";
          else if (told(y, x)) {
            cell.className = beside[y][x];
            cell.style.setProperty("--share", `${Math.round(PALEST + (100 - PALEST) * (far(y, x) / furthest))}%`);
          }
          cell.classList.toggle("chosen", marks[y][x].startsWith("chosen"));
          const notes = [
            value !== null && spans[y][x] ? `[${spans[y][x].map(number).join(", ")}]` : "",
            told(y, x) ? `${beside[y][x] === "better" ? "\u25b2" : "\u25bc"} ${beside[y][x]}` : "",
            marks[y][x],
          ];
          for (const note of notes.filter(Boolean)) {
            const small = document.createElement("small");
            small.textContent = note;
            cell.append(small);
          }
          return cell;
        }));
        return line;
      }));
    });
  };
  score.addEventListener("change", draw);
  split.addEventListener("change", draw);
  draw();
  root.hidden = false;
}
