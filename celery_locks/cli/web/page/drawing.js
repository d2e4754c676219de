// Charts, as SVG that grows with its place: widths are parts of the whole, and text is never stretched.
import { draw } from "./making.js";

const ROW = 36, BAR = 10, LETTERS = 34;
const HEIGHT = 60, WIDTH = 100;

// A bar for each [name, value, text].
export function bars(rows, kind, title) {
  const longest = Math.max(...rows.map(([, value]) => value), Number.MIN_VALUE);
  const said = rows.map(([name, , text]) => `${name}: ${text}`).join("; ");
  const drawn = rows.flatMap(([name, value, text], place) => [
    draw("text", { x: 0, y: place * ROW + 14 }, short(name)),
    draw("text", { x: "100%", y: place * ROW + 14, "text-anchor": "end" }, text),
    draw("rect", { x: 0, y: place * ROW + 19, height: BAR, rx: 2, class: kind, width: `${Math.max(0.5, (100 * value) / longest)}%` }),
  ]);
  return draw("svg", { role: "img", "aria-label": `${title}: ${said}`, height: rows.length * ROW }, ...drawn);
}

// How a number went, one point a look.
export function course(values, kind, title) {
  const most = Math.max(...values, 1), step = WIDTH / Math.max(values.length - 1, 1);
  const y = (value) => HEIGHT - 2 - ((HEIGHT - 6) * value) / most;
  const points = (values.length > 1 ? values : [values[0], values[0]]).map((value, at) => `${(at * step).toFixed(2)} ${y(value).toFixed(2)}`);
  const said = `${title}: ${values.at(-1)} now, ${Math.max(...values)} at most since this page was opened`;
  return draw("svg", { role: "img", "aria-label": said, height: HEIGHT, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" },
    draw("path", { d: `M ${points.join(" L ")}`, class: kind }));
}

function short(text) {
  const letters = [...text];
  return letters.length > LETTERS ? `${letters.slice(0, LETTERS - 1).join("")}…` : text;
}
