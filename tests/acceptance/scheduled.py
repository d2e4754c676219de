"""The app of beats, and of a worker that does what they send: all of it is set by the test."""

from __future__ import annotations

import json
import os
import time

from celery import Celery

import celery_locks
from celery_locks import LockedTask, Locks, current_lease
from tests.acceptance.journal import Journal

app = Celery("scheduled")
app.conf.update(json.loads(os.environ["ACCEPTANCE_CONF"]))
celery_locks.install(app)


@app.task(bind=True, name="report")
def report(self, seconds: float = 0.0) -> None:  # type: ignore[no-untyped-def]
    """Take longer than the interval. It knows nothing of locks."""
    lease = current_lease()
    with Journal.of_this_process().running(lease.key, self.request.headers["lock_due"], lease.fence):
        time.sleep(seconds)


@app.task(bind=True, base=LockedTask, name="audit", lock_key="ledger", lock_countdown=0.2)
def audit(self, seconds: float = 0.0) -> None:  # type: ignore[no-untyped-def]
    """Run under a key of its own, and under that of its entry where that has one."""
    holder = Locks.from_app(app).holder("beat:audit")
    with Journal.of_this_process().running(
        "ledger", self.request.headers["lock_due"], self.lease.fence, entry=holder and holder.owner, id=self.request.id
    ):
        time.sleep(seconds)
