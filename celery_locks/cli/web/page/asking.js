// What is said to the server, and the pass that it is said with.
const HEADER = "X-Celery-Locks-Pass", KEPT = "celery-locks-pass";
const PATIENCE = 30_000;
let pass = kept();

export class Stranger extends Error {}

// Behind the # of the URL, where no server and no log sees it. Gone from the address as soon as it is read.
export function enter(text) {
  const found = /(?:^|#)(?:pass=)?([\w-]+)$/.exec(text.trim());
  if (!found) return false;
  pass = found[1];
  // In this tab alone: a cookie would be shown to every other port of this machine.
  try { sessionStorage.setItem(KEPT, pass); } catch { /* until the page is loaded again */ }
  history.replaceState(null, "", location.pathname);
  return true;
}

export function leave() {
  pass = "";
  try { sessionStorage.removeItem(KEPT); } catch { /* nothing was kept */ }
}

export function ask(name, words = {}) {
  return said(`api/${name}?${new URLSearchParams(words)}`, { method: "GET" });
}

export function tell(name, told) {
  return said(`api/${name}`, { method: "POST", body: JSON.stringify(told) });
}

async function said(where, how) {
  const headers = { [HEADER]: pass, "Content-Type": "application/json" };
  let answer, told;
  try {
    answer = await fetch(where, { ...how, headers, credentials: "omit", signal: AbortSignal.timeout(PATIENCE) });
    told = await answer.json();
  } catch {
    throw new Error(how.method === "GET"
      ? "The command that serves this page does not answer: was it ended?"
      : "No answer: whether it was released is not known. Look at the list.");
  }
  if (answer.status === 401) throw new Stranger(told.error);
  if (!answer.ok) throw new Error(told.error);
  return told;
}

function kept() {
  try { return sessionStorage.getItem(KEPT) ?? ""; } catch { return ""; }
}
