"""Jobs that hold several keys: transfers between wallets, each a file that only the locks protect."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

from celery import shared_task

from celery_locks import LockedTask, current_lease
from tests.acceptance.journal import Journal
from tests.waiting import wait_until


def wallet(key: str, number: int) -> str:
    """The key of a wallet of this test."""
    return f"{key}:{number}"


@contextlib.contextmanager
def holding(job: str) -> Any:
    """Write down the stay under each of the keys, with the fence for that key."""
    lease, journal = current_lease(), Journal.of_this_process()
    with contextlib.ExitStack() as stack:
        for each in lease.keys:
            stack.enter_context(journal.running(each, job, lease.fence_of(each)))
        yield
        lease.ensure_held()


def add(folder: str, number: int, amount: int) -> None:
    """Read a balance and write it back, with time between for whoever does not wait."""
    balance = Path(folder) / str(number)
    before = int(balance.read_text())
    time.sleep(0.002)
    balance.write_text(str(before + amount))


@shared_task(
    base=LockedTask, name="transfer", lock_key=["{key}:{source}", "{key}:{target}"], lock_countdown=60.0, lock_ttl=30.0
)
def transfer(key: str, job: str, source: int, target: int, folder: str) -> str:  # noqa: ARG001 - it is in the templates
    """Move one coin."""
    with holding(job):
        add(folder, source, -1)
        add(folder, target, 1)
    return job


@shared_task(
    base=LockedTask,
    name="collect",
    lock_key=lambda key, sources, **_: [wallet(key, number) for number in sources],
    lock_wait=0.5,
    lock_countdown=60.0,
)
def collect(key: str, job: str, sources: list[int], folder: str) -> str:  # noqa: ARG001 - the callable takes it
    """Move one coin from each wallet to the first."""
    with holding(job):
        for number in sources[1:]:
            add(folder, number, -1)
            add(folder, sources[0], 1)
    return job


@shared_task(base=LockedTask, name="hold_both", lock_key=["{key}:1", "{key}:2"], lock_ttl=120.0)
def hold_both(key: str, job: str, until: str) -> None:  # noqa: ARG001 - it is in the templates
    """Hold two wallets until a file is there."""
    with holding(job):
        wait_until(Path(until).exists, f"{until} to be there", timeout=60)
