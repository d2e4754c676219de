"""Tasks that are in their queue only once, in a worker."""

from __future__ import annotations

from tests.acceptance import bodies, tasks
from tests.acceptance.counter import SINGLES
from tests.acceptance.tasks import app

__all__ = ["app"]

BODIES = {
    "single": bodies.work,
    "single_start": bodies.stays_open,
    "single_open": bodies.stays_open,
    "single_late": bodies.stays_open,
    "single_late_start": bodies.stays_open,
    "single_retry": bodies.retries_itself,
    "single_fails": bodies.fails,
    "single_reject": bodies.rejects,
    "single_hard": bodies.work,
}

for name, options in SINGLES.items():
    tasks.declare(name, BODIES[name], **options)
