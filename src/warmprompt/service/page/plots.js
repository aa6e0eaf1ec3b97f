// Two pictures of the way: the vector's path in its plane, and the places of today's top ten.

import { byId, draw, isStill } from "./dom.js";

const SHOWN_RANKS = 10;
const TITLES_AT_EDGE = 2;

/**
 * Draw the path in its plane, with the titles of each direction at the edges.
 *
 * @param plane   From `planeOf`
 * @param titles  Title of each column of the steps' scores
 * @param steps   {number, label} of each point
 */
export function drawMap(plane, titles, steps) {
  const box = byId("map");
  const [width, height] = sizeOf(box, 320);
  const inside = { left: 20, right: width - 20, top: 52, bottom: height - 52 };
  const onPage = fitted(plane.points, inside);
  const at = plane.points.map(onPage);
  const picture = draw("svg", {
    viewBox: `0 0 ${width} ${height}`,
    role: "img",
    "aria-label": `Path of your vector in ${at.length - 1} steps from the start.`,
  });
  const [x, y] = onPage([0, 0]);
  picture.append(
    draw("line", { class: "axis", x1: 8, x2: width - 8, y1: y, y2: y }),
    draw("line", { class: "axis", x1: x, x2: x, y1: 44, y2: height - 44 }),
    ...edgeTitles(plane, titles, { width, height, x, y, at }),
    draw("path", { class: "way", d: `M${at.map((point) => point.map(rounded).join(",")).join("L")}` }),
    ...at.map(([px, py], step) => mark(px, py, steps[step], step === at.length - 1)),
  );
  box.replaceChildren(picture);
  if (!isStill()) picture.querySelector(".halo")?.animate([{ opacity: 0 }, { opacity: 0.18 }], 500);
}

/**
 * Draw the places of the titles that are the first ten now.
 *
 * @param steps   Each with `top`: items, best first
 * @param titles  item -> title
 */
export function drawBump(steps, titles) {
  const box = byId("bump");
  const [width, height] = sizeOf(box, 380);
  const num = Math.max(2, Math.min(steps.length, Math.floor((width * 0.5) / 34)));
  const shown = steps.slice(-num).map((step, index, all) => ({ ...step, number: steps.length - all.length + index }));
  const namesX = Math.round(width * (width < 420 ? 0.5 : 0.56));
  const x = (column) => 16 + (column * (namesX - 30)) / Math.max(1, shown.length - 1);
  const y = (at) => 34 + ((Math.min(at, SHOWN_RANKS + 1) - 1) * (height - 60)) / SHOWN_RANKS;
  const today = shown.at(-1).top.slice(0, SHOWN_RANKS);
  const picture = draw("svg", {
    viewBox: `0 0 ${width} ${height}`,
    role: "group",
    "aria-label": "Places of your top ten at each step",
  });
  shown.forEach((step, column) =>
    picture.append(
      draw("line", { class: "axis", x1: x(column), x2: x(column), y1: 26, y2: height - 8 }),
      draw("text", { class: "step", x: x(column), y: 16, "text-anchor": "middle" }, step.number ? String(step.number) : "start"),
    ),
  );
  const lines = today.map((item, index) => line(item, index, { shown, x, y, namesX, width, title: titles.get(item) }));
  picture.append(...lines.reverse());
  walkable(lines.reverse());
  box.replaceChildren(picture);
}

function line(item, index, { shown, x, y, namesX, width, title }) {
  const ranks = shown.map((step) => step.top.indexOf(item) + 1 || Infinity);
  const points = ranks.map((at, column) => [x(column), y(at)]);
  const label = `${index + 1}. ${title}`;
  const spoken = ranks.map((at, column) => `${shown[column].number || "start"}: ${at <= 50 ? at : "beyond 50"}`);
  return draw(
    "g",
    {
      class: `line of-${index + 1}`,
      tabindex: index === 0 ? "0" : "-1",
      role: "img",
      "aria-label": `${label}. Place by step, ${spoken.join(", ")}.`,
    },
    draw("path", { d: smooth(points) }),
    ...points.map(([px, py], column) => draw("circle", { cx: px, cy: py, r: 4, class: ranks[column] > SHOWN_RANKS ? "beyond" : "" })),
    draw("text", { x: namesX, y: y(index + 1) + 4 }, cut(label, (width - namesX) / 6.6)),
    draw("title", {}, label),
  );
}

/** Let the arrow keys go from line to line; the Tab key stops at the picture once. */
function walkable(lines) {
  lines.forEach((one, index) =>
    one.addEventListener("keydown", (event) => {
      const to = lines[index + ({ ArrowDown: 1, ArrowUp: -1 }[event.key] ?? NaN)];
      if (!to) return;
      event.preventDefault();
      one.setAttribute("tabindex", "-1");
      to.setAttribute("tabindex", "0");
      to.focus();
    }),
  );
}

function mark(x, y, { number, label }, now) {
  const kind = now ? "point now" : number ? "point" : "point start";
  return draw(
    "g",
    { class: kind, transform: `translate(${rounded(x)} ${rounded(y)})` },
    now ? draw("circle", { class: "halo", r: 17 }) : false,
    draw("circle", { r: number ? 11 : 6 }),
    draw("text", { y: number ? 4 : -12, "text-anchor": "middle" }, number ? String(number) : "start"),
    draw("title", {}, label),
  );
}

function edgeTitles(plane, titles, { width, height, x, y, at }) {
  const best = (axis, sign) =>
    plane.columns
      .map((column, index) => [sign * plane.loadings[axis][index], titles[column]])
      .filter(([loading]) => loading > 1e-6)
      .sort(([one], [other]) => other - one)
      .slice(0, TITLES_AT_EDGE)
      .map(([, title]) => title);
  const stack = (names, atX, atY, anchor, letters) =>
    names.map((name, row) => draw("text", { class: "edge", x: atX, y: atY + 15 * row, "text-anchor": anchor }, cut(name, letters)));
  const half = width / 2 / 6.4 - 3;
  const middle = Math.min(Math.max(x, width * 0.3), width * 0.7);
  // Beside the axis, on the side where fewer points are in the way.
  const below = Math.min(Math.max(y, 80), height - 90) + 25;
  const free = (isNear) => {
    const crowd = (top) => at.filter(([px, py]) => isNear(px) && py > top - 24 && py < top + 30).length;
    return [below, below - 67, 66, height - 76].reduce((best, top) => (crowd(top) < crowd(best) ? top : best));
  };
  return [
    ...stack(best(1, 1), middle, 16, "middle", half * 1.2),
    ...stack(best(1, -1), middle, height - 22, "middle", half * 1.2),
    ...stack(best(0, -1), 8, free((px) => px < width * 0.45), "start", half * 0.9),
    ...stack(best(0, 1), width - 8, free((px) => px > width * 0.55), "end", half * 0.9),
  ];
}

/** Return what maps the plane into a box, as long to the right as upwards. */
function fitted(points, { left, right, top, bottom }) {
  const [xs, ys] = [0, 1].map((axis) => points.map((point) => point[axis]));
  const span = (values) => Math.max(...values) - Math.min(...values);
  const scale = Math.min((right - left) / Math.max(span(xs), 1e-6), (bottom - top) / Math.max(span(ys), 1e-6)) * 0.8;
  const middle = (values) => (Math.max(...values) + Math.min(...values)) / 2;
  return ([px, py]) => [(left + right) / 2 + (px - middle(xs)) * scale, (top + bottom) / 2 - (py - middle(ys)) * scale];
}

function smooth(points) {
  return points.reduce((path, [x, y], index) => {
    if (!index) return `M${rounded(x)},${rounded(y)}`;
    const [fx, fy] = points[index - 1];
    const half = rounded((fx + x) / 2);
    return `${path}C${half},${rounded(fy)} ${half},${rounded(y)} ${rounded(x)},${rounded(y)}`;
  }, "");
}

const sizeOf = (box, height) => [Math.max(280, Math.floor(box.clientWidth)), height];
const rounded = (value) => Math.round(value * 10) / 10;
const cut = (text, letters) => (text.length <= letters ? text : `${text.slice(0, Math.max(4, Math.floor(letters) - 1)).trimEnd()}…`);
