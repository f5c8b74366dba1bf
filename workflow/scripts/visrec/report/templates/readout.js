// Curves: the point of a curve that is nearest to the pointer, or that the arrow keys have moved to, is read out.
const readout = document.createElement("p");
readout.className = "readout";
readout.setAttribute("role", "status");
const spot = document.createElement("i");
spot.className = "spot";
const hush = () => { readout.hidden = spot.hidden = true; };
hush();
document.body.append(spot, readout);
addEventListener("resize", hush);

// `curvesOf` gives the curves, of points {x, y, key, says}: fractions of the box, the number at the axis, and a function.
function readable(box, curvesOf) {
  const REACH = 24; // pixels, of a pointer
  let curves;
  let at = [0, 0]; // number of the curve and of its point
  const show = () => {
    const { x, y, says } = curves[at[0]][at[1]];
    const own = box.getBoundingClientRect();
    const place = { left: `${own.left + scrollX + x * own.width}px`, top: `${own.top + scrollY + y * own.height}px` };
    for (const one of [spot, readout]) Object.assign(one.style, place);
    readout.classList.toggle("before", x > 0.5);
    readout.hidden = spot.hidden = false;
    readout.textContent = says();
  };
  const lookAt = (event) => {
    curves ||= curvesOf();
    const own = box.getBoundingClientRect();
    const [right, down] = [event.clientX - own.left, event.clientY - own.top];
    let [found, least] = [null, REACH ** 2];
    curves.forEach((points, curve) => points.forEach(({ x, y }, point) => {
      const far = (x * own.width - right) ** 2 + (y * own.height - down) ** 2;
      if (far <= least) [found, least] = [[curve, point], far]; // of equals the one that is drawn on top
    }));
    if (!found) return hush();
    at = found;
    show();
  };
  const beside = (curve) => { // the point of another curve where this one is
    const { key } = curves[at[0]][at[1]];
    const far = curves[curve].map((point) => Math.abs(point.key - key));
    return [curve, far.indexOf(Math.min(...far))];
  };
  const ways = {
    ArrowLeft: ([curve, point]) => [curve, Math.max(0, point - 1)],
    ArrowRight: ([curve, point]) => [curve, Math.min(curves[curve].length - 1, point + 1)],
    Home: ([curve]) => [curve, 0],
    End: ([curve]) => [curve, curves[curve].length - 1],
    ArrowUp: ([curve]) => beside(Math.max(0, curve - 1)),
    ArrowDown: ([curve]) => beside(Math.min(curves.length - 1, curve + 1)),
  };

  box.tabIndex = 0;
  box.addEventListener("pointermove", lookAt);
  box.addEventListener("pointerdown", lookAt);
  box.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") hush(); }); // a lifted finger stays
  box.addEventListener("focus", () => {
    curves ||= curvesOf();
    if (box.matches(":focus-visible") && curves.length) show();
  });
  box.addEventListener("blur", hush);
  box.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hush();
    if (!ways[event.key] || !curves.length) return;
    at = ways[event.key](at);
    show();
    spot.scrollIntoView({ block: "nearest" });
    event.preventDefault();
  });
}

// The corners of a path of straight lines, and points between those that are far apart.
function corners(path) {
  const STEP = 3;
  return ((path && path.getAttribute("d")) || "").split("M").slice(1).flatMap((run) => {
    const points = run.split("L").map((corner) => corner.split(",").map(parseFloat));
    return points.flatMap(([x, y], number) => {
      const [from, height] = points[number - 1] || [x, y];
      const parts = Math.max(1, Math.ceil(Math.abs(x - from) / STEP));
      return Array.from({ length: parts }, (_, part) => {
        const share = (part + 1) / parts;
        return [from + share * (x - from), height + share * (y - height)];
      });
    });
  });
}

// A number in words, no finer than `step`, which is about what it is exact to.
function rounded(value, step) {
  const digits = Math.min(9, -Math.ceil(Math.log10(step)));
  const places = Math.max(0, digits);
  const near = Math.round(value * 10 ** digits) / 10 ** digits || 0; // no -0
  return near.toLocaleString("en", { minimumFractionDigits: places, maximumFractionDigits: places });
}

// The curves of a figure: what its panels say of their axes turns places back into numbers.
function curvesIn(svg) {
  const DRAWN = 10; // places in a point
  const { width, height } = svg.viewBox.baseVal;
  return [...svg.querySelectorAll(".panel")].flatMap((panel) => {
    const about = JSON.parse(panel.dataset.panel);
    const ground = corners(panel.querySelector("path"));
    const ends = [0, 1].map((side) => ground.map((corner) => corner[side]));
    const [left, right, top, bottom] = ends.flatMap((places) => [Math.min(...places), Math.max(...places)]);
    const [low, high] = about.y;
    const [first, last] = about.x;
    const number = (y) => {
      const share = (bottom - y) / (bottom - top);
      const inside = Math.min(1, Math.max(0, share));
      const words = about.log
        ? Number((low * (high / low) ** inside).toPrecision(2)).toLocaleString("en")
        : rounded(low + inside * (high - low), (high - low) / (bottom - top) / DRAWN);
      return (share > 1 ? "above " : share < 0 ? "below " : "") + words;
    };
    return [...panel.querySelectorAll(".curve")].map((curve) => corners(curve.querySelector("path")).map(([x, y]) => {
      const key = first + (x - left) / (right - left) * (last - first);
      const iteration = () => rounded(key, Math.max(1, (last - first) / (right - left) / DRAWN));
      const says = () => `${curve.getAttribute("aria-label")}\n${about.title}: ${number(y)} at iteration ${iteration()}`;
      return { x: x / width, y: Math.min(bottom, Math.max(top, y)) / height, key, says };
    }));
  }).filter((points) => points.length);
}

function explain(figure) {
  const help = document.createElement("p");
  help.className = "note";
  help.textContent = "Point at a curve to read its values, or go along it with the arrow keys.";
  figure.after(help);
}

for (const figure of document.querySelectorAll(".drawn")) {
  const drawn = [...figure.children].filter((svg) => svg.querySelector(".panel"));
  for (const svg of drawn) readable(svg, () => curvesIn(svg));
  if (drawn.length) explain(figure);
}

for (const plot of document.querySelectorAll(".plot.readable")) {
  const curves = [];
  for (const point of plot.querySelectorAll(".point")) {
    const { title, style } = point;
    const [x, y] = [parseFloat(style.left) / 100, 1 - parseFloat(style.bottom) / 100];
    (curves[point.dataset.curve] ||= []).push({ x, y, key: x, says: () => title });
    point.removeAttribute("title");
  }
  readable(plot, () => curves);
  explain(plot.parentNode);
}

// Names instead of tooltips, which would come on top.
for (const title of document.querySelectorAll(".drawn title, .readable title")) {
  title.parentNode.setAttribute("aria-label", title.textContent);
  title.remove();
}
