"""A guard for Django's models: the fence is a column, and a write under a lower one than it finds is refused.

A model that is `Fenced` has the column. `fenced(wallet)` saves one instance, `fenced_update()` changes rows, and
`claim()` puts the fence there before a job reads what it goes by.
"""

from __future__ import annotations

from celery_locks.fencing.django.model import Fenced, fenced
from celery_locks.fencing.django.rows import FencedQuerySet

__all__ = ["Fenced", "FencedQuerySet", "fenced"]
