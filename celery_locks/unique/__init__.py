"""A job that is in its queue only once: its place is a key of its own, taken when it is sent."""

from __future__ import annotations

from celery_locks.unique.ended import is_copy, was_heard
from celery_locks.unique.place import Place
from celery_locks.unique.places import found, give_up
from celery_locks.unique.sending import Sending

__all__ = ["Place", "Sending", "found", "give_up", "is_copy", "was_heard"]
