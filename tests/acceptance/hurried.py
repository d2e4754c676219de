"""The tasks again, in a worker to which a second is what half a minute is to others."""

from __future__ import annotations

from celery_locks import policies
from celery_locks.worker import line
from tests.acceptance.tasks import app

__all__ = ["app"]

policies.LATEST = line.LOOK_AFTER = 1.0
