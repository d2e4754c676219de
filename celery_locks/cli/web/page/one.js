// One key: who has it, who waits, and who found it taken lately.
import { bars } from "./drawing.js";
import { button, make, put, span } from "./making.js";

// What it was made of last time: while that is the same but for what time does to it, the buttons stay.
let last = "";

export function show(body, view, { asks, jobs, said, release, question }) {
  const shape = JSON.stringify([view.key, view.holders.map((each) => each.fence), jobs, said]);
  const parts = {
    said: said ? [make("p", { id: "done", role: "status", ...(said.bad ? { class: "trouble" } : {}) }, said.text)] : [],
    holders: holders(view, jobs),
    line: line(view),
    conflicts: conflicts(view),
  };
  if (shape !== last || !body.querySelector("[data-part]")) {
    last = shape;
    const names = ["said", "holders", "actions", "line", "conflicts"];
    put(body, ...names.map((name) => make("div", { "data-part": name }, ...(parts[name] ?? actions(view, { asks, jobs, release, question })))));
    return;
  }
  for (const name of ["holders", "line", "conflicts"]) put(body.querySelector(`[data-part=${name}]`), ...parts[name]);
}

function holders(view, jobs) {
  if (!view.holders.length) return [make("p", {}, "It is free.")];
  const slots = view.slots === null ? [] : [make("p", {}, `${view.slots} may hold it at a time.`)];
  return [...slots, ...view.holders.map((holder) => holderOf(holder, jobs))];
}

function holderOf(holder, jobs) {
  const job = Array.isArray(jobs) ? jobs.find((each) => each.owner === holder.owner) : null;
  const facts = [
    ["holder", holder.owner], ["task", holder.task], ["id", holder.task_id],
    ["workflow", holder.step === "error" ? "the errback" : holder.step ? `step ${holder.step}` : null],
    ["process", holder.pid === null ? null : `${holder.pid} on ${holder.host}`],
    ["since", holder.since === null ? null : `${holder.since.slice(0, 19).replace("T", " ")} UTC, ${span(holder.age)} ago`],
    ["ttl", holder.remaining === null ? "until its process or connection ends" : `${span(holder.remaining)} unless renewed`],
    ["fence", holder.fence],
    ...(job ? [["worker", job.worker], ["args", job.args], ["kwargs", job.kwargs], ["job", job.why]] : []),
  ];
  const known = facts.filter(([, value]) => value !== null && value !== undefined);
  return make("dl", { class: "holder" }, ...known.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

function actions(view, { asks, jobs, release, question }) {
  const releases = view.holders.map((holder) => button(
    view.holders.length > 1 ? `Release from ${holder.brief}…` : "Release…",
    () => release({ ...holder, key: view.key, shown: view.shown }), { class: "danger" }));
  const wanted = asks && view.holders.some((each) => each.task_id) ? [button("Ask the worker what it does", question)] : [];
  const asked = jobs === "asked" ? ["The workers are asked…"] : wanted;
  return [make("p", { class: "buttons" }, ...asked, ...releases)];
}

function line(view) {
  const title = make("h3", {}, "Line");
  if (view.line === null) return [title, make("p", {}, "This store keeps no line.")];
  if (!view.line.length) return [title, make("p", {}, "Nobody waits.")];
  const names = ["Place", "Stands", "Since", "Ticket"];
  const row = (each) => [each.place, each.stands, each.age === null ? "–" : `${span(each.age)} ago`, each.ticket];
  const cells = (each) => row(each).map((value, index) => make("td", { role: "cell", "data-title": names[index] }, value));
  const head = make("tr", { role: "row" }, ...names.map((name) => make("th", { role: "columnheader", scope: "col" }, name)));
  const table = make("table", { role: "table", "aria-label": `Those who wait for ${view.shown}` },
    make("thead", { role: "rowgroup" }, head),
    make("tbody", { role: "rowgroup" }, ...view.line.map((each) => make("tr", { role: "row" }, ...cells(each)))));
  const rest = view.waiting - view.line.length;
  return [title, table, ...(rest > 0 ? [make("p", {}, `and ${rest} more`)] : [])];
}

function conflicts(view) {
  if (!view.conflicts?.length) return [];
  const rows = view.conflicts.map((each) => [`${span(each.ago)} ago by ${each.asker}`, each.held ?? 0, span(each.held)]);
  const title = "For how long it had been held when others came";
  return [make("h3", {}, title), bars(rows, "hold", title)];
}
