// The map: another encoder, another method, and the picture under the pointer or the keyboard's focus.
for (const root of document.querySelectorAll(".map")) {
  const chapter = root.dataset.chapter;
  const data = JSON.parse(document.getElementById(`data-${chapter}`).textContent);
  const { points, encoders, width } = data.map;
  const [encoder, method, board, trust, panel, cursor, ring] =
    [".encoder", ".method", "svg", ".trust", ".asked", ".cursor", ".ring"].map((each) => root.querySelector(each));
  const marks = [...root.querySelectorAll(".point")];
  const items = data.examples ? data.examples.items : [];
  const queries = new Set(items.filter((item) => item.kind === "query").map((item) => item.asked));
  let places = [];
  let at = -1; // the point that is looked at
  let inExamples = -1;

  const circle = (className, radius) => {
    const made = document.createElementNS(board.namespaceURI, "circle");
    made.setAttribute("class", className);
    made.setAttribute("r", radius);
    return made;
  };

  const put = (mark, number) => {
    const place = places[number];
    mark.toggleAttribute("hidden", !place);
    if (place) mark.style.transform = `translate(${place[0]}px, ${place[1]}px)`;
  };

  const draw = () => {
    const one = encoders[encoder.value];
    for (const option of method.options) option.disabled = !one.maps[option.value];
    if (method.selectedOptions[0].disabled) method.value = "pca";
    const map = one.maps[method.value];
    const words = map.trust ? `trustworthiness ${map.trust} of 1` : "too few different pictures for a trustworthiness";
    trust.textContent = `${one.name}, ${method.selectedOptions[0].text}: ${words}`;
    board.setAttribute("aria-label", `${points.length} test pictures as ${one.name} places them, by ${method.selectedOptions[0].text}`);
    places = map.places;
    marks.forEach(put);
    put(cursor, at);
    put(ring, inExamples);
  };

  const enterAt = (number) => { // the one point that Tab comes to
    marks.forEach((mark, other) => { mark.tabIndex = other === number ? 0 : -1; });
  };

  const look = (number) => {
    if (number < 0 || number === at) return;
    at = number;
    enterAt(at);
    put(cursor, at);
    const about = data.pictures[points[at]];
    panel.hidden = false;
    panel.replaceChildren(pictureOf(data, chapter, points[at]), captionOf(about, "test picture"));
    if (!queries.has(points[at])) return;
    const link = document.createElement("a");
    link.href = `#examples-${chapter}`;
    link.textContent = "to the examples";
    link.addEventListener("click", pick);
    panel.lastChild.append(link);
  };

  const pick = () => {
    if (at >= 0 && queries.has(points[at]))
      document.dispatchEvent(new CustomEvent("picked", { detail: { chapter, picture: points[at] } }));
  };

  const distance = ([x, y], [left, top]) => Math.hypot(x - left, y - top);

  const best = (score) => {
    let found = -1;
    let lowest = Infinity;
    places.forEach((place, number) => {
      const value = place ? score(place, number) : Infinity;
      if (value < lowest) [found, lowest] = [number, value];
    });
    return found;
  };

  const under = (event, reach) => {
    const box = board.getBoundingClientRect();
    const scale = width / box.width;
    const pointer = [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
    const found = best((place) => distance(place, pointer));
    return found >= 0 && distance(places[found], pointer) <= reach * scale ? found : -1;
  };

  const beside = ([right, down]) => best((place, number) => {
    const [x, y] = [place[0] - places[at][0], place[1] - places[at][1]];
    const ahead = x * right + y * down;
    const aside = Math.abs(x * down) + Math.abs(y * right);
    return number !== at && ahead > 0 && aside <= ahead ? Math.hypot(x, y) : Infinity;
  });

  const ways = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

  board.setAttribute("role", "listbox");
  marks.forEach((mark, number) => {
    const about = data.pictures[points[number]];
    const query = queries.has(points[number]);
    mark.setAttribute("role", "option");
    mark.setAttribute("aria-selected", "false");
    mark.setAttribute("aria-label", [about.id, about.label && `label ${about.label}`, query && "among the examples"].filter(Boolean).join(", "));
    if (query) mark.prepend(circle("is-query", 9));
    mark.addEventListener("focus", () => look(number));
  });
  board.addEventListener("pointermove", (event) => look(under(event, 12)));
  board.addEventListener("click", (event) => {
    const found = under(event, 24); // a finger is wider
    if (found < 0) return;
    look(found);
    marks[found].focus({ preventScroll: true });
    pick();
  });
  board.addEventListener("keydown", (event) => {
    if (event.key === "Enter" || event.key === " ") pick();
    else if (!ways[event.key]) return;
    else {
      const next = places[at] ? beside(ways[event.key]) : -1;
      if (next >= 0) marks[next].focus({ preventScroll: true });
    }
    event.preventDefault();
  });
  encoder.addEventListener("change", draw);
  method.addEventListener("change", draw);
  document.addEventListener("shown", ({ detail }) => {
    if (detail.chapter !== chapter) return;
    if (inExamples >= 0) marks[inExamples].setAttribute("aria-selected", "false");
    inExamples = points.indexOf(detail.picture);
    if (inExamples >= 0) marks[inExamples].setAttribute("aria-selected", "true");
    put(ring, inExamples);
  });
  root.querySelector(".choose").hidden = root.querySelector(".help").hidden = false;
  draw();
  enterAt(places.findIndex(Boolean));
}
