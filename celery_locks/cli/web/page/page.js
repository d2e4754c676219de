// The page: asks again and again, and hands what it hears to those who show it.
import { ask, enter, leave, Stranger, tell } from "./asking.js";
import { bars, course } from "./drawing.js";
import { find, put, span, word } from "./making.js";
import { show as showOne } from "./one.js";
import { List } from "./rows.js";

const USUAL = 2000;      // milliseconds between two looks
const SHARE = 10;        // a store that takes long is asked less often: a tenth of the time at most
const SELDOM = 5;        // statistics are asked for with each fifth look
const REMEMBERED = 300;  // looks in the charts of this page
const STEP = 200;

const past = { held: [], waiting: [] };
const list = new List(find("titles"), find("rows"), open, release);
let answer = () => {};
let most = STEP, paused = false, key = null, jobs = null, said = null, looks = 0, timer = 0, round = 0;

async function look() {
  clearTimeout(timer);
  const mine = ++round, began = performance.now();
  let pause = USUAL;
  try {
    await lookOnce(() => mine === round);
    if (mine !== round) return;
    trouble("");
    put(find("state"), paused ? "Paused." : `As of ${new Date().toLocaleTimeString()}.`);
  } catch (error) {
    if (mine !== round) return;
    if (error instanceof Stranger) return stranger(error.message);
    trouble(error.message);
    put(find("state"), "What is shown is old.");
  }
  pause = Math.max(USUAL, SHARE * (performance.now() - began));
  timer = setTimeout(() => (paused || document.hidden ? undefined : look()), Math.min(pause, 60_000));
}

async function lookOnce(counts) {
  const found = await ask("locks", { pattern: find("pattern").value || "*", most });
  if (!counts()) return;
  find("entry").hidden = true;
  find("all").hidden = false;
  put(find("place"), found.place);
  list.show(found.rows);
  find("none").hidden = found.rows.length > 0;
  put(find("none"), `No key that matches ${find("pattern").value || "*"} is held.`);
  find("more").hidden = !found.more;
  put(find("count"), found.more ? `The first ${found.rows.length}. A narrower glob finds the others.` : "");
  since(found);
  if (looks++ % SELDOM === 0) statistics(await ask("stats"));
  if (key !== null) await lookAtOne(found.asks, counts);
}

async function lookAtOne(asks, counts) {
  const of = key, found = await ask("lock", { key: of });
  if (counts() && of === key) showOne(find("one-body"), found, { asks, jobs, said, release, question });
}

function since({ rows, lines, more }) {
  // Several that hold a key have one line.
  const lengths = new Map(rows.map((row) => [row.key, row.waiting ?? 0]));
  const now = { held: rows.length, waiting: [...lengths.values()].reduce((sum, each) => sum + each, 0) };
  for (const name of ["held", "waiting"]) {
    past[name] = [...past[name], now[name]].slice(-REMEMBERED);
    const known = name === "held" || lines;
    put(find(`${name}-now`), known ? `${now[name]}${more ? " at least" : ""}` : "this store keeps no line");
    const kind = name === "held" ? "hold" : "wait";
    put(find(`${name}-chart`), known ? course(past[name], kind, word[name]) : "");
  }
}

function statistics({ tallies }) {
  find("most-none").hidden = tallies !== null;
  find("most-charts").hidden = tallies === null;
  const each = tallies ?? [];
  const times = (tally) => `${tally.conflicts} conflict${tally.conflicts === 1 ? "" : "s"}`;
  const rows = (field) => each.map((tally) => [tally.shown, tally[field], `${span(tally[field])}, ${times(tally)}`]);
  put(find("waits"), each.length ? bars(rows("waited"), "wait", "Waited in line, in all") : "No key was found taken.");
  put(find("holds"), each.length ? bars(rows("held"), "hold", "Longest hold that was seen") : "No key was found taken.");
}

function open(row) {
  [key, jobs, said] = [row.key, null, null];
  put(find("one-key"), row.shown);
  put(find("one-body"), "Asking…");
  find("one").hidden = false;
  find("one").focus();
  look();
}

function close() {
  const row = list.button(key);
  key = null;
  find("one").hidden = true;
  row?.focus();
}

async function question() {
  const of = key;
  jobs = "asked";
  look();
  try {
    const answer = await ask("jobs", { key: of });
    if (of === key) jobs = answer.jobs;
  } catch (error) {
    if (of === key) [jobs, said] = [null, { text: error.message, bad: true }];
  }
  look();
}

async function release(row) {
  if (!(await isSure(row))) return;
  const of = row.key;
  if (key !== of) open(row);
  try {
    // The fence that was shown: whoever has taken the key since then keeps it.
    const done = await tell("release", { key: of, fence: row.fence });
    said = { text: `Released ${done.shown}, held by ${done.holder}. ${done.effect} ${done.note}`, bad: false };
  } catch (error) {
    if (error instanceof Stranger) return stranger(error.message);
    said = { text: error.message, bad: true };
  }
  look();
}

function isSure(row) {
  const dialog = find("sure");
  put(find("sure-what"), `Release ${row.shown}?`);
  put(find("sure-who"), `Held by ${row.brief} for ${span(row.age)}, with fence ${row.fence}.`);
  // That a question is over may be told when the next one is on the screen: it must not answer that one.
  answer(false);
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((sure) => { answer = sure; });
}

function trouble(text) {
  if (find("trouble").textContent !== text) put(find("trouble"), text);
  find("trouble").hidden = !text;
}

function stranger(why) {
  leave();
  trouble("");
  put(find("state"), "Nothing is shown without the pass.");
  put(find("why"), why);
  find("all").hidden = true;
  find("entry").hidden = false;
  find("pass").focus();
}

find("sure").addEventListener("close", () => { if (!find("sure").open) answer(find("sure").returnValue === "yes"); });
find("entry").addEventListener("submit", (event) => {
  event.preventDefault();
  enter(find("pass").value);
  find("pass").value = "";
  look();
});
find("filter").addEventListener("submit", (event) => { event.preventDefault(); most = STEP; look(); });
find("more").addEventListener("click", () => { most *= 2; look(); });
find("close").addEventListener("click", close);
find("one").addEventListener("keydown", (event) => { if (event.key === "Escape") close(); });
find("pause").addEventListener("click", () => {
  paused = !paused;
  find("pause").setAttribute("aria-pressed", String(paused));
  look();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused) look(); });
window.addEventListener("hashchange", () => { if (enter(location.hash)) look(); });
enter(location.hash);
look();
