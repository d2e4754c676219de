"""The show: the bank without a lock, with one, and with a worker killed while it holds one."""

from __future__ import annotations

import os
import random
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from celery_locks import Locks

from . import judge, tasks
from .app import app
from .beats import scheduled
from .both import mixed
from .judge import Check, Sent, Takeover
from .ledger import Ledger
from .server import valkey
from .workers import Crew, StuckError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Task

    from .ledger import Run
    from .screen import Screen

USERS = range(1, 5)
SENT = Sent(jobs=200, amount=1, opening=1000)
TELLERS = ("teller-1@bank", "teller-2@bank")
THINK = 3.0  # long enough to be killed in
OUT_FOR = 6  # seconds until the broker gives a dead worker's messages back: longer than THINK, see app.py


class Bank(NamedTuple):
    """What every step works with."""

    directory: Path
    ledger: Ledger
    screen: Screen


@contextmanager
def bank(screen: Screen) -> Iterator[Bank]:
    """A server and a ledger in a temporary directory, made known to the workers through the environment."""
    with TemporaryDirectory(prefix="bank-", ignore_cleanup_errors=True) as name, valkey(Path(name, "valkey")) as url:
        forget_celery_settings()
        path = Path(name, "ledger.sqlite")
        os.environ.update(CELERY_BROKER_URL=url, BANK_LEDGER=str(path))
        with Ledger(path) as ledger:
            screen.say(f"Valkey listens on {url}")
            yield Bank(Path(name), ledger, screen)


def forget_celery_settings() -> None:
    """Drop what the user exported for another project: these jobs must never reach its broker."""
    for name in [name for name in os.environ if name.startswith("CELERY_")]:
        del os.environ[name]


def show(screen: Screen) -> list[Check]:
    """All steps, one after another; what was checked until one got stuck, if one did."""
    checks: list[Check] = []
    try:
        with bank(screen) as here:
            checks += two_hundred(here)
            checks += killed(here)
            checks += scheduled(here)
            checks += mixed(here)
    except StuckError as stuck:
        checks.append(Check("the show", "every step comes to its end", str(stuck).splitlines()[0], kept=False))
        screen.say(f"\n{stuck}")
    return checks


def two_hundred(here: Bank, locked_job: Task[..., None] = tasks.withdraw) -> Iterator[Check]:
    """The same withdrawals by 4 processes, without and with the lock."""
    with Crew(here.directory) as crew:
        crew.hire(*TELLERS, processes=2)
        crew.wait_for(crew.ready, "the workers", 20)
        here.screen.heading(f"{SENT.jobs} withdrawals from {len(USERS)} wallets by 4 processes, without a lock")
        drain(here, crew, tasks.withdraw_unlocked)
        yield from judge.unlocked(here.ledger, SENT)
        here.screen.heading("The same with LockedTask")
        drain(here, crew, locked_job)
        yield from judge.locked(here.ledger, SENT)


def drain(here: Bank, crew: Crew, job: Task[..., None]) -> None:
    """Send every withdrawal and watch until all have run."""
    ledger = here.ledger
    ledger.open_accounts(USERS, SENT.opening)
    for user_id in customers():
        job.delay(user_id, SENT.amount)
    with here.screen.progress(SENT.jobs) as advance:

        def all_ran() -> bool:
            done = ledger.finished()
            advance(done, f"{ledger.requeues()} re-queues, {judge.overlaps(ledger.runs())} overlapping runs")
            return done >= SENT.jobs

        crew.wait_for(all_ran, f"{SENT.jobs} withdrawals", seconds=40, pause=0.1)
    here.screen.say(f"  {judge.lost_updates(ledger, SENT)} of {SENT.jobs} withdrawals are missing from the balances")


def customers() -> list[int]:
    """Who withdraws, in an order that looks random and is the same every time."""
    order = [user for user in USERS for _ in range(SENT.jobs // len(USERS))]
    random.Random(7).shuffle(order)
    return order


def killed(here: Bank) -> Iterator[Check]:
    """A worker is killed in mid-job: another takes its key over within one ttl, and the job runs again."""
    here.screen.heading("A worker killed with SIGKILL in mid-job")
    here.ledger.open_accounts(USERS, SENT.opening)
    with Crew(here.directory, BANK_VISIBILITY_TIMEOUT=str(OUT_FOR)) as crew:
        crew.hire(*TELLERS, processes=1)
        crew.wait_for(crew.ready, "the workers", 20)
        takeover = kill_in_mid_job(here, crew)
    yield from judge.takeover(here.ledger, takeover, SENT._replace(jobs=2))


def kill_in_mid_job(here: Bank, crew: Crew) -> Takeover:
    """Kill the worker that runs a job while a second job waits for the same wallet; watch both to their end."""
    ledger, say = here.ledger, here.screen.say
    first = tasks.withdraw.delay(1, SENT.amount, think=THINK).id
    crew.wait_for(lambda: bool(ledger.runs(first)), "the first job to begin", 10)
    [run] = ledger.runs(first)
    say(f"  {run.worker} runs the first job")
    # A worker of one process takes no second job while it runs one, so this one goes to the other worker.
    second = tasks.withdraw.delay(1, SENT.amount).id
    crew.wait_for(lambda: ledger.requeues() > 0, "the second job to find the wallet taken", THINK)
    say("  the second job found the wallet taken and is back on the queue")
    killed_at, free_at = kill(here, crew, run)
    say(f"  its key was free {free_at - killed_at:.2f} s after the kill; a lease lives {tasks.TTL} s without renewal")
    crew.wait_for(lambda: has_run(ledger, second), "the second job", 10)
    say(f"  the second job has run; the broker gives the first one back {OUT_FOR} s after it was handed out")
    # The workers look for such messages every second. With a kombu before 5.7, one that starts does, and then not soon.
    crew.wait_for(lambda: time.monotonic() > run.began + OUT_FOR, "the broker", 2 * OUT_FOR)
    crew.hire("teller-3@bank", processes=1)
    say("  a new worker takes the place of the killed one")
    crew.wait_for(lambda: has_run(ledger, first), "the killed job to run again", 30)
    say("  the killed job has run again")
    return Takeover(first, second, killed_at, free_at, tasks.TTL, tasks.COUNTDOWN)


def kill(here: Bank, crew: Crew, run: Run) -> tuple[float, float]:
    """Kill the worker of this run; when that was, and when another could hold the key or did."""
    locks, key = Locks.from_app(app), f"wallet:{run.user_id}"
    killed_at = time.monotonic()
    crew.fire(run.worker)
    if not here.ledger.note_killed(run):
        raise StuckError("the first job had ended before its worker could be killed: this machine is too busy")
    here.screen.say(f"  {run.worker} is killed, all its processes")
    crew.wait_for(lambda: passed_on(locks, key, run.fence), "the key to be free", 3 * tasks.TTL)
    return killed_at, time.monotonic()


def passed_on(locks: Locks, key: str, fence: int) -> bool:
    """Whether the key is free, or has a later holder."""
    holding = locks.holder(key)
    return holding is None or holding.fence > fence


def has_run(ledger: Ledger, job: str) -> bool:
    """Whether a run of this job came to its end."""
    return any(run.ended and not run.killed for run in ledger.runs(job))
