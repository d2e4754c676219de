"""What the jobs do. Each writes its stay under the lock into a folder of its test."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery_locks import Fail, LockTimeout, Requeue, Skip, current_lease
from celery_locks.rq import locked
from tests.judging import Stay, record
from tests.waiting import wait_until

#: No test holds anything for longer.
PATIENCE = 30


def stay(folder: str, name: str, seconds: float = 0.0, *, until: bool = False) -> str:
    """Stay for so long, or until a file says that it is enough."""
    begin, lease, where = time.monotonic(), current_lease(), Path(folder)
    (where / f"{name}.began").write_text(str(os.getpid()))
    if until:
        wait_until((where / f"{name}.enough").exists, f"the end of {name}", PATIENCE)
    else:
        time.sleep(seconds)
    record(where, Stay(begin, time.monotonic(), lease.fence, f"{name}-{os.getpid()}-{time.monotonic_ns()}"))
    return name


@locked(key="{folder}", ttl=5)
def brief(folder, name, seconds=0.05):
    return stay(folder, name, seconds)


@locked(key="{folder}", ttl=5)
def hold(folder, name):
    return stay(folder, name, until=True)


@locked(key="{folder}", ttl=300)
def hold_long(folder, name):
    return stay(folder, name, until=True)


@locked(key="{folder}", ttl=3)
def hold_short(folder, name):
    return stay(folder, name, until=True)


@locked(key="{folder}", ttl=300, countdown=30)
def patient(folder, name):
    return stay(folder, name)


@locked(key="{folder}", ttl=300, countdown=0.5)
def impatient(folder, name):
    return stay(folder, name)


@locked(key="{folder}", ttl=300, wait=PATIENCE)
def in_slot(folder, name):
    return stay(folder, name)


@locked(key="{folder}", on_contention="skip")
def skipped(folder, name):
    return stay(folder, name)


@locked(key="{folder}", on_contention=Skip(result="Processing"))
def answered(folder, name):
    return stay(folder, name)


@locked(key="{folder}", on_contention="fail")
def failing(folder, name):
    return stay(folder, name)


@locked(key="{folder}", on_contention=lambda met: Requeue(0.2) if met.requeues < 2 else Fail("enough"))
def persistent(folder, name):
    return stay(folder, name)


@locked(key="{folder}", unique="until_done")
def single(folder, name):
    return stay(folder, name, until=True)


@locked(key="{folder}", unique="until_done", on_contention="skip")
def single_skipped(folder, name):
    return stay(folder, name)


@locked(key="{folder}", unique="until_start")
def single_start(folder, name):
    return stay(folder, name, until=True)


@locked(key="{folder}", slots=2)
def in_slots(folder, name):
    return stay(folder, name, until=True)


@locked(key=["{folder}:a", "{folder}:b"])
def both(folder, name):
    return stay(folder, name, 0.05)


@locked(key="{folder}", at_least=3, countdown=30)
def lasting(folder, name):
    return stay(folder, name, until=True)


@locked(key="{folder}", at_least=3, on_contention="skip", countdown=0.5)
def lasting_and_failing(folder, name):
    stay(folder, name)
    if len(list(Path(folder).glob("*.stay"))) == 1:
        raise ValueError(name)


@locked(key="{folder}", shared=True)
def reads(folder, name):
    return stay(folder, name, until=True)


@locked(key="{folder}", max_requeues=2, countdown=0.2)
def gives_up(folder, name):
    return stay(folder, name)


@locked(key="{folder}", max_wait=1)
def gives_up_late(folder, name):
    return stay(folder, name)


@locked(key="{folder}", store="away", on_outage="fail")
def needs_store(folder, name):
    return stay(folder, name)


@locked(key="{folder}", store="away", on_outage="run")
def runs_anyway(folder, name):
    return stay(folder, name)


@locked(key="{folder}", store="away", countdown=0.5)
def outlasts(folder, name):
    return stay(folder, name)


@locked(key="{folder}", on_lost="flag", ttl=3)
def flagged(folder, name):
    lease = current_lease()
    stay(folder, name, until=True)
    wait_until(lambda: not lease.held(), "the end of the lease", PATIENCE)
    return name


@locked(key="{folder}", heartbeat=False, ttl=1.5)
def unbeaten(folder, name):
    return stay(folder, name, until=True)


@locked(key="{folder}", fair=False, countdown=0.5)
def unfair(folder, name):
    return stay(folder, name)


@locked(key="{task}:{args}")
def named(folder):  # noqa: ARG001 - the key has it
    return current_lease().key


@locked(key=lambda folder, **_: [f"{folder}:b", f"{folder}:a"])
def called_for(folder):  # noqa: ARG001 - the key has it
    return current_lease().keys


def _kept_in(store):
    def kept(folder, name):
        return stay(folder, name, until=True)

    kept.__name__ = kept.__qualname__ = f"kept_in_{store}"
    return locked(key="{folder}", store=store, ttl=3, countdown=0.5)(kept)


#: One for each store of that name.
KEPT = {store: _kept_in(store) for store in ("file", "sqlite", "etcd", "advisory", "zookeeper")}
globals().update({function.__name__: function for function in KEPT.values()})


@locked(key="{folder}", on_lost="kill", ttl=3)
def doomed(folder, name):
    return stay(folder, name, until=True)


@locked(key="{folder}", ttl=5)
async def awaited(folder, name):
    return stay(folder, name)


def plain(folder, name):
    """Nothing here knows of locks: settings do."""
    return stay(folder, name, until=True)


def follows(folder, name):
    Path(folder, f"{name}.followed").touch()


def done(job: Any, _connection: Any, result: Any) -> None:
    with Path(job.args[0], "done.txt").open("a") as file:
        file.write(f"{job.id} {result}\n")


def gone_wrong(job: Any, _connection: Any, *error: Any) -> None:
    with Path(job.args[0], "wrong.txt").open("a") as file:
        file.write(f"{job.id} {error[0].__name__}\n")


def stopped(job: Any, _connection: Any) -> None:
    Path(job.args[0], "stopped").touch()


@locked(key="{folder}", ttl=5)
def calls_by_hand(folder, name):
    """What it calls by hand finds the key taken by itself, and says so: there is nothing to go back to."""
    try:
        brief(folder, name)
    except LockTimeout:
        return "taken"
    return "free"
