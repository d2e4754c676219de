"""The worker's parts: what happens in the worker's main process."""

from __future__ import annotations

from celery_locks.worker.ending import Ending
from celery_locks.worker.keeping import Keeping
from celery_locks.worker.line import Line
from celery_locks.worker.request import LockedRequest, MemberRequest

__all__ = ["Ending", "Keeping", "Line", "LockedRequest", "MemberRequest"]
