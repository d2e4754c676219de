"""Tasks that are in their queue only once, in a worker."""

from __future__ import annotations

from tests.acceptance import tasks
from tests.acceptance.counter import SINGLES
from tests.acceptance.tasks import app

__all__ = ["app"]

BODIES = {
    "single": tasks.work,
    "single_start": tasks.stays_open,
    "single_open": tasks.stays_open,
    "single_late": tasks.stays_open,
    "single_late_start": tasks.stays_open,
    "single_retry": tasks.retries_itself,
    "single_fails": tasks.fails,
    "single_reject": tasks.rejects,
    "single_hard": tasks.work,
}

for name, options in SINGLES.items():
    tasks.declare(name, BODIES[name], **options)
