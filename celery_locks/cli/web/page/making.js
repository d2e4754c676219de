// Elements, and how things are written. Text goes in as text alone: a key may hold what looks like markup.
const SVG = "http://www.w3.org/2000/svg";

export const find = (id) => document.getElementById(id);
export const word = { held: "Keys held", waiting: "Waiting in line" };

export function put(element, ...inside) {
  element.replaceChildren(...inside.map((each) => (each instanceof Node ? each : String(each))));
  return element;
}

export function make(name, traits = {}, ...inside) {
  return put(marked(document.createElement(name), traits), ...inside);
}

export function draw(name, traits = {}, ...inside) {
  return put(marked(document.createElementNS(SVG, name), traits), ...inside);
}

export function button(text, act, traits = {}) {
  const made = make("button", { type: "button", ...traits }, text);
  made.addEventListener("click", act);
  return made;
}

export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const whole = Math.floor(seconds), two = (number) => String(number).padStart(2, "0");
  for (const [size, unit, less, lower] of [[86400, "d", 3600, "h"], [3600, "h", 60, "m"], [60, "m", 1, "s"]]) {
    if (whole >= size) return `${Math.floor(whole / size)}${unit} ${two(Math.floor((whole % size) / less))}${lower}`;
  }
  return `${(Math.floor(Math.max(0, seconds) * 10) / 10).toFixed(1)}s`;
}

function marked(element, traits) {
  for (const [name, value] of Object.entries(traits)) element.setAttribute(name, String(value));
  return element;
}
