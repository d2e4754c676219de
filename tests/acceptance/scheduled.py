"""The app of beats: all of it is set by the test."""

from __future__ import annotations

import json
import os

from celery import Celery

import celery_locks

app = Celery("scheduled")
app.conf.update(json.loads(os.environ["ACCEPTANCE_CONF"]))
app.conf.beat_scheduler = "celery_locks.beat.LockedScheduler"
celery_locks.install(app)
