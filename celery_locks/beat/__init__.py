"""Several `celery beat` may run: one of them sends, and what it has sent the next one knows."""

from __future__ import annotations

from celery_locks.beat.scheduler import LockedScheduler

__all__ = ["LockedScheduler"]
