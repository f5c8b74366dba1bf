// The grid: every score over the settings, coloured between the least and the greatest that is shown.
for (const root of document.querySelectorAll(".heat")) {
  const { scores, encoders } = JSON.parse(root.querySelector("script").textContent);
  const [score, split, says] = [".score", ".split", ".says"].map((each) => root.querySelector(each));
  const tables = [...root.querySelectorAll(".cells")];

  const head = (words, scope) => {
    const made = document.createElement("th");
    made.scope = scope;
    made.textContent = words;
    return made;
  };
  const place = (axis, value) => [axis, value].filter(Boolean).join(" ");

  const draw = () => {
    const { name, share } = scores[score.value];
    const words = (value) => (share ? `${(100 * value).toFixed(1)}\u00a0%` : value.toFixed(2).replace("-", "\u2212"));
    const all = encoders.map((encoder) => encoder.values[split.value][score.value]);
    const known = all.flat(2).filter((value) => value !== null);
    const [least, greatest] = [Math.min(...known), Math.max(...known)];
    const range = (values) => {
      const some = values.flat().filter((value) => value !== null);
      return some.length ? `${words(Math.min(...some))} to ${words(Math.max(...some))}` : "nothing measured";
    };
    const title = `${name} on ${split.selectedOptions[0].text}`;
    says.textContent = `${title}: ${range(known)}`; // heard; the captions are seen
    encoders.forEach((encoder, number) => {
      const { across, down, columns, rows, state, marks } = encoder;
      tables[number].caption.textContent = `${encoder.name}: ${title}, ${range(all[number])}`;
      const top = document.createElement("tr");
      const named = columns.some(Boolean); // a list of settings has one column without a name
      tables[number].classList.toggle("list", !named);
      top.append(document.createElement("td"), ...columns.map((column) => head(place(across, column), "col")));
      tables[number].tHead.replaceChildren(...(named ? [top] : []));
      tables[number].tBodies[0].replaceChildren(...rows.map((row, y) => {
        const line = document.createElement("tr");
        line.append(head(place(down, row), "row"), ...columns.map((_, x) => {
          const cell = document.createElement("td");
          const value = all[number][y][x];
          cell.textContent = value === null ? state[y][x] || "\u2013" : words(value);
          if (value === null) cell.className = state[y][x] ? "bad" : "none";
          cell.classList.toggle("chosen", marks[y][x].startsWith("chosen"));
          const high = greatest > least ? (value - least) / (greatest - least) : 0.5;
          cell.style.setProperty("--share", `${6 + 36 * high}%`);
          if (marks[y][x]) {
            const small = document.createElement("small");
            small.textContent = marks[y][x];
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
