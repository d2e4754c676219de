"""Jobs that make it hard to keep their leases: they hold the interpreter, or many locks."""

from __future__ import annotations

import ctypes
import os
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from celery.signals import worker_process_init

from celery_locks import Locks, events, signals
from celery_locks.lease import Busy, Verdict
from celery_locks.stores.redis import RedisStore
from tests.acceptance.bodies import noted, stays_open
from tests.acceptance.journal import Journal
from tests.acceptance.tasks import app, declare
from tests.waiting import wait_until

__all__ = ["app"]

#: Called through this, a C function keeps the interpreter to itself until it returns.
_C = ctypes.PyDLL(None)
#: Leases that are written down one by one when they are renewed.
FEW = 50


def holds_the_interpreter(self: Any, key: str, job: str, seconds: float) -> str:
    """Let no other thread of this process run for so long, the one of a heartbeat among them."""
    with noted(self, key, job):
        _C.usleep(int(seconds * 1e6))
    return job


@worker_process_init.connect
def come_up(**_: Any) -> None:
    """Be too slow, once, where a file says so."""
    slow = Path(os.environ.get("ACCEPTANCE_SLOW", ""))
    if slow.is_file():
        slow.unlink()
        time.sleep(60)


@signals.lost.connect
def take_time(event: events.Lost) -> None:
    """Be slow in taking note of some losses."""
    if "slowly" in event.key:
        time.sleep(0.3)


def reads_with_the_interpreter_held(self: Any, key: str, job: str, pipe: str) -> int:
    """Wait in a system call of C for a byte, while nothing else of this process runs; what the call returned."""
    with noted(self, key, job):
        file = os.open(pipe, os.O_RDWR)
        try:
            return int(_C.read(file, ctypes.create_string_buffer(1), 1))
        finally:
            os.close(file)


declare("reads_with_the_interpreter_held", reads_with_the_interpreter_held, lock_ttl=300.0)
declare("holds_the_interpreter", holds_the_interpreter, lock_ttl=2.0)
declare("holds_the_interpreter_or_dies", holds_the_interpreter, lock_ttl=10.0, lock_on_lost="kill")
declare("heir_holds_the_interpreter", holds_the_interpreter, lock_ttl=3.0, lock_wait=60.0)
declare("five_minutes", stays_open, lock_ttl=300.0)
declare("five_minutes_slots", stays_open, lock_ttl=300.0, lock_slots=3, lock_countdown=60.0)
declare("five_minutes_without_beat", stays_open, lock_ttl=300.0, lock_heartbeat=False)
declare("fifteen_seconds", lock_ttl=15.0)
declare("open_six_seconds", stays_open, lock_ttl=6.0)
declare("six_seconds_or_dies", lock_ttl=6.0, lock_on_lost="kill")
declare("two_seconds_without_beat", lock_ttl=2.0, lock_heartbeat=False)
declare("two_seconds_without_beat_or_dies", lock_ttl=2.0, lock_heartbeat=False, lock_on_lost="kill")
declare("five_minutes_acks_late", stays_open, lock_ttl=300.0, acks_late=True, reject_on_worker_lost=True)
declare("five_minutes_hard_limit", stays_open, lock_ttl=300.0, time_limit=1)


def ends_another(self: Any, key: str, job: str) -> int:
    """Start a program and ask it to end; what it ended with."""
    with noted(self, key, job), subprocess.Popen(["sleep", "60"]) as sleeper:
        sleeper.terminate()
        return sleeper.wait(30)


declare("ends_another", ends_another)
declare("waits", lock_wait=300.0)
declare("waits_acks_late", lock_wait=300.0, acks_late=True, reject_on_worker_lost=True)
declare("waits_out_of_line", lock_wait=300.0, lock_fair=False)
declare("waits_out_of_line_acks_late", lock_wait=300.0, lock_fair=False, acks_late=True, reject_on_worker_lost=True)


def holds_many(self: Any, key: str, job: str, locks: int, until: str) -> str:
    """Hold so many plain locks with a heartbeat, besides its own, until a file is there."""
    with noted(self, key, job), ExitStack() as stack:
        for number in range(locks):
            stack.enter_context(Locks.from_app(app).lock(f"{key}-{number}", ttl=30.0, heartbeat=True))
        Journal.of_this_process().write("full", key=key)
        wait_until(Path(until).exists, f"{until} to be there", timeout=120)
    return job


declare("holds_many", holds_many, lock_ttl=30.0)

_renew, _acquire = RedisStore.renew, RedisStore.acquire


def note_claim(store: RedisStore, claim: Any) -> Any:
    """Write down each answer to a claim of a job that found its key taken."""
    answer = _acquire(store, claim)
    if isinstance(answer, Busy) and claim.task_id:
        Journal.of_this_process().write("asks", key=claim.key)
    return answer


def note_verdicts(store: RedisStore, leases: Any) -> Any:
    """Write down each round trip that renews leases, and then of which it had an answer."""
    Journal.of_this_process().write("renewal", key="renewal", leases=len(leases))
    verdicts = _renew(store, leases)
    if len(leases) <= FEW:
        keys = [lease.key for lease, verdict in zip(leases, verdicts, strict=True) if verdict is not Verdict.UNKNOWN]
        Journal.of_this_process().write("answered", key="renewal", keys=keys)
    return verdicts


RedisStore.acquire = note_claim  # type: ignore[method-assign]
RedisStore.renew = note_verdicts  # type: ignore[method-assign]
