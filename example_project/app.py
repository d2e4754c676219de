"""The bank's Celery app and its settings.

The broker is named by CELERY_BROKER_URL, which Celery reads by itself. No `lock_store` is named: the locks live in the
broker's Redis.
"""

from __future__ import annotations

import os

from celery import Celery

app = Celery("bank", include=["example_project.tasks"])
app.conf.update(
    # A job is acknowledged after it ran, and returns to its queue when the process that ran it dies.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    # A process fetches its next job when it is free, so that jobs do not sit behind a busy one.
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    # Several beats may run, and one sends. An audit that is due while the one before it still counts is skipped.
    beat_scheduler="celery_locks.beat.LockedScheduler",
    beat_schedule={"audit": {"task": "example_project.tasks.audit", "schedule": 1.0, "lock": True}},
    lock_beat_ttl=3.0,
    broker_transport_options={
        # When a whole worker dies, Redis cannot tell. Its messages return to the queue when they have been out for
        # this long, so it must exceed the longest job: a shorter one delivers a running job a second time.
        "visibility_timeout": float(os.environ.get("BANK_VISIBILITY_TIMEOUT", "3600")),
        # The workers look for such messages every second. A kombu before 5.7 knows no such setting: it looks when a
        # worker starts, then every 100 seconds.
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        # One worker looks at a time. If that one is killed, the next may look after 5 seconds, not 300.
        "unacked_mutex_expire": 5,
    },
)
