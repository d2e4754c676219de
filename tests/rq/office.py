"""A Celery app whose jobs want the keys of RQ jobs."""

from __future__ import annotations

import os

from celery import Celery

from celery_locks import LockedTask
from tests.rq.jobs import stay

URL = os.environ.get("OFFICE_URL", "")
app = Celery("office", broker=f"{URL[:-1]}5" if URL else "memory://")
app.conf.update(lock_store=URL or None, worker_hijack_root_logger=False)


@app.task(base=LockedTask, lock_key="{folder}", lock_ttl=300, lock_countdown=30)
def visit(folder, name, *, until):
    return stay(folder, name, until=until)
