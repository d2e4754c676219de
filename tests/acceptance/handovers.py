"""Jobs that take up a lock which a web request acquired, and give it back. They know no lock of their own."""

from __future__ import annotations

import contextlib

from celery_locks import Locks
from tests.acceptance.journal import Journal
from tests.acceptance.tasks import app
from tests.waiting import wait_until

__all__ = ["app"]


@app.task(name="take_up")
def take_up(key: str, job: str, store: str, owner: str, *, ends_in: float | None = None) -> str:
    """Work under the lock; `ends_in`: until its lease is over, in so many seconds."""
    journal = Journal.of_this_process()
    with contextlib.closing(Locks(store)) as locks:
        lock = locks.restore(key, owner)
        assert lock.lease is not None
        with journal.running(key, job, lock.lease.fence):
            lock.lease.ensure_held()
            if ends_in:
                lock.renew(ends_in)
                wait_until(lambda: not locks.locked(key), "the lease to be over", timeout=30)
        lock.release()
    return job
