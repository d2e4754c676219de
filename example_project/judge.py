"""What a ledger proves: each promise beside what was seen, and a verdict."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from .ledger import Ledger, Run


NOISE = 0.5  # seconds that a busy machine may be late


class Check(NamedTuple):
    """One row of the closing table."""

    step: str
    expected: str
    seen: str
    kept: bool


class Sent(NamedTuple):
    """What a step sent: so many jobs, all taking `amount` out of wallets that held `opening`."""

    jobs: int
    amount: int
    opening: int


class Takeover(NamedTuple):
    """What happened around a kill: the job that was killed, the one that waited for its key, and two moments."""

    first: str
    second: str
    killed_at: float
    free_at: float
    ttl: float
    countdown: float


def exit_code(checks: Sequence[Check]) -> int:
    """0 if every promise was kept; 1 if one was not, or nothing was checked."""
    return 0 if checks and all(check.kept for check in checks) else 1


def unlocked(ledger: Ledger, sent: Sent) -> list[Check]:
    """Without a lock, updates must be lost: else the step has no contention, and the next one proves nothing."""
    lost, overlapping = lost_updates(ledger, sent), overlaps(ledger.runs())
    seen = f"{lost} of {sent.jobs} lost, {overlapping} overlapping runs"
    return [Check("no lock", "updates are lost", seen, lost > 0 and overlapping > 0)]


def locked(ledger: Ledger, sent: Sent) -> list[Check]:
    """With the lock nothing is lost, nothing overlaps in one wallet, and wallets do not wait for each other."""
    runs = ledger.runs()
    lost, overlapping, jobs = lost_updates(ledger, sent), overlaps(runs), len({run.job for run in runs})
    side_by_side, requeues = deepest(runs), ledger.requeues()
    return [
        Check("LockedTask", "no update is lost", f"{lost} of {sent.jobs} lost", lost == 0),
        Check("LockedTask", "no two runs overlap in a wallet", f"{overlapping} overlapping runs", overlapping == 0),
        Check("LockedTask", "wallets are served side by side", f"up to {side_by_side} at once", side_by_side > 1),
        Check("LockedTask", "a later holder has a higher fence", *fences(runs)),
        Check(
            "LockedTask",
            "a job put back on the queue runs, once",
            f"{requeues} re-queues, {jobs} jobs in {len(runs)} runs",
            requeues > 0 and jobs == len(runs) == sent.jobs,
        ),
    ]


def takeover(ledger: Ledger, seen: Takeover, sent: Sent) -> list[Check]:
    """A killed worker's key is free within one ttl and taken by the next, and its job runs again: once, to its end."""
    first, second = ledger.runs(seen.first), ledger.runs(seen.second)
    free_after, taken_after = seen.free_at - seen.killed_at, second[0].began - seen.free_at
    overlapping, lost = overlaps(ledger.runs()), lost_updates(ledger, sent)
    ran_again = [run.killed for run in first] == [True, False] and first[-1].ended is not None
    return [
        Check(
            "SIGKILL",
            f"the key is free within a ttl, {seen.ttl:g} s",
            f"{free_after:.2f} s",
            free_after <= seen.ttl + NOISE,
        ),
        Check(
            "SIGKILL",
            f"the job put back runs {seen.countdown:g} s later at most",
            f"{max(0, taken_after):.2f} s, on {second[0].worker}",
            taken_after <= seen.countdown + NOISE and second[0].worker != first[0].worker,
        ),
        Check("SIGKILL", "the killed job runs again", f"{len(first)} runs, the last on {first[-1].worker}", ran_again),
        Check(
            "SIGKILL",
            "both are withdrawn once, one at a time",
            f"{sent.jobs - lost} withdrawn, {overlapping} overlapping runs",
            lost == 0 and overlapping == 0 and len(second) == 1,
        ),
    ]


def scheduled(audits: Sequence[datetime], seconds: float, ttl: float) -> list[Check]:
    """Each due time from the first to the last has one audit, and a killed beat is followed within a ttl."""
    steps = [(after - before).total_seconds() for before, after in pairwise(audits)]
    missing, twice = sum(step > 1 for step in steps), sum(step < 1 for step in steps)
    seen = f"{len(audits)} audits, {missing} gaps, {twice} twice"
    return [
        Check("two beats", "each second is audited once", seen, len(audits) > 1 and not missing and not twice),
        Check("two beats", f"the other sends within a ttl, {ttl:g} s", f"{seconds:.2f} s", seconds <= ttl + NOISE),
    ]


def mixed(ledger: Ledger, opening: int, jobs: int) -> list[Check]:
    """Jobs of two kinds of workers, that put in as much as they take out, leave each wallet as it was."""
    runs, balances = ledger.runs(), ledger.balances()
    wrong = sum(balance != opening for balance in balances.values())
    overlapping, kinds = overlaps(runs), {run.worker == "rq" for run in runs}
    return [
        Check("RQ and Celery", "no update is lost", f"{wrong} of {len(balances)} balances are wrong", wrong == 0),
        Check("RQ and Celery", "no two runs overlap in a wallet", f"{overlapping} overlapping runs", overlapping == 0),
        Check(
            "RQ and Celery",
            "each job runs once, by its own kind of worker",
            f"{len({run.job for run in runs})} jobs in {len(runs)} runs",
            len(kinds) == 2 and len({run.job for run in runs}) == len(runs) == jobs,  # noqa: PLR2004 - two kinds
        ),
    ]


def fences(runs: Iterable[Run]) -> tuple[str, bool]:
    """Whether, in each wallet, every run has a higher fence than the run before it."""
    handovers = [pair for visits in by_wallet(runs).values() for pair in pairwise(visits)]
    grown = sum(earlier.fence < later.fence for earlier, later in handovers)
    return f"{grown} of {len(handovers)} did", grown == len(handovers)


def lost_updates(ledger: Ledger, sent: Sent) -> int:
    """How many withdrawals left no trace; negative if money was taken more often than was asked for."""
    balances = ledger.balances()
    taken = len(balances) * sent.opening - sum(balances.values())
    return sent.jobs - taken // sent.amount


def overlaps(runs: Iterable[Run]) -> int:
    """How many runs began in a wallet before an earlier run there had ended."""
    return sum(_begun_too_early(visits) for visits in by_wallet(runs).values())


def deepest(runs: Iterable[Run]) -> int:
    """The most runs that were going on at one moment."""
    steps = sorted(step for run in runs for step in ((run.began, 1), (end(run), -1)))
    depth = peak = 0
    for _, change in steps:
        depth += change
        peak = max(peak, depth)
    return peak


def by_wallet(runs: Iterable[Run]) -> dict[int, list[Run]]:
    """The runs of each wallet, in the order they began."""
    wallets: defaultdict[int, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: run.began):
        wallets[run.user_id].append(run)
    return wallets


def end(run: Run) -> float:
    """When it ended; never, if the ledger does not say."""
    return math.inf if run.ended is None else run.ended


def _begun_too_early(visits: list[Run]) -> int:
    free_at, early = -math.inf, 0
    for run in visits:
        early += run.began < free_at
        free_at = max(free_at, end(run))
    return early
