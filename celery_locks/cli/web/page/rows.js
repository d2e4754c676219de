// The list. Rows stay the elements they are while their holder stays, so that whoever is at one with the keyboard is
// not thrown out by the next look.
import { button, make, put, span } from "./making.js";

const COLUMNS = [
  ["Key", (row) => row.shown],
  ["Task", (row) => row.task ?? "–"],
  ["Worker", (row) => (row.pid === null ? "–" : `${row.host}:${row.pid}`)],
  ["Age", (row) => row.age, span],
  ["TTL", (row) => row.remaining, span],
  ["Waiting", (row) => row.waiting, (count) => count ?? "–"],
];
const WHOLE = (value) => value;

export class List {
  #titles; #body; #open; #release; #found = []; #made = new Map(); #by = 5; #down = true;

  constructor(titles, body, open, release) {
    [this.#titles, this.#body, this.#open, this.#release] = [titles, body, open, release];
    const heads = COLUMNS.map(([title], index) =>
      make("th", { role: "columnheader", scope: "col" }, button(title, () => this.#sort(index))));
    put(titles, ...heads, make("th", { role: "columnheader", scope: "col" }, "Action"));
    this.#mark();
  }

  show(rows) {
    this.#found = rows;
    const stay = new Map();
    const wanted = this.#sorted().map((row) => {
      const name = `${row.fence} ${row.key} ${row.owner}`;
      const made = this.#made.get(name) ?? this.#row();
      stay.set(name, made);
      this.#fill(made, row);
      return made.line;
    });
    this.#made = stay;
    const at = document.activeElement;
    if (wanted.length !== this.#body.children.length || wanted.some((line, place) => line !== this.#body.children[place])) {
      put(this.#body, ...wanted);
      if (at?.isConnected && at !== document.activeElement) at.focus({ preventScroll: true });
    }
  }

  button(key) {
    return [...this.#made.values()].find((made) => made.row.key === key)?.name;
  }

  #row() {
    const made = { row: null, line: null, name: null, cells: [] };
    made.name = button("", () => this.#open(made.row), { class: "link" });
    made.cells = COLUMNS.map(([title], index) =>
      make("td", { role: "cell", "data-title": title, ...(index > 2 ? { class: "number" } : {}) }));
    put(made.cells[0], made.name);
    made.release = button("Release…", () => this.#release(made.row), { class: "danger" });
    made.line = make("tr", { role: "row" }, ...made.cells, make("td", { role: "cell", "data-title": "" }, made.release));
    return made;
  }

  #fill(made, row) {
    made.row = row;
    made.release.setAttribute("aria-label", `Release ${row.shown}, held by ${row.brief}`);
    COLUMNS.forEach(([, of, written = WHOLE], index) => {
      const cell = index ? made.cells[index] : made.name, text = String(written(of(row)));
      if (cell.textContent !== text) cell.textContent = text;
    });
  }

  #sort(index) {
    this.#down = this.#by === index ? !this.#down : index > 2;
    this.#by = index;
    this.#mark();
    this.show(this.#found);
  }

  #mark() {
    [...this.#titles.children].forEach((head, index) => {
      if (index === this.#by) head.setAttribute("aria-sort", this.#down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  }

  #sorted() {
    const of = COLUMNS[this.#by][1], sign = this.#down ? -1 : 1;
    const order = (a, b) => {
      const [x, y] = [of(a), of(b)];
      if (x === y) return (b.age ?? 0) - (a.age ?? 0) || (a.key < b.key ? -1 : 1);
      if (x === null || y === null) return x === null ? 1 : -1;
      return (x < y ? -1 : 1) * sign;
    };
    return [...this.#found].sort(order);
  }
}
