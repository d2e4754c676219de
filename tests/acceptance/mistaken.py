"""A task declared with a mistake, and a worker that is to run it."""

from __future__ import annotations

import json
import os

from celery import Celery

from celery_locks import LockedTask
from tests.acceptance.journal import Journal
from tests.acceptance.queues import configure

app = Celery("mistaken")
configure(app)
app.conf.update(json.loads(os.environ["ACCEPTANCE_CONF"]))


@app.task(base=LockedTask, name="mistaken", **json.loads(os.environ["ACCEPTANCE_OPTIONS"]))
def mistaken(key: str, job: str) -> str:
    """Must not run."""
    Journal.of_this_process().write("start", run=job, key=key, job=job, fence=0)
    return job
