"""One lock across a chain or a chord: it goes from member to member, and nobody else comes in between."""

from __future__ import annotations

from celery_locks.canvas.carried import HEADER, Carried, found
from celery_locks.canvas.handing import free
from celery_locks.canvas.member import performed
from celery_locks.canvas.plans import plan_for, plan_of
from celery_locks.canvas.workflow import Baton, baton

__all__ = ["HEADER", "Baton", "Carried", "baton", "found", "free", "performed", "plan_for", "plan_of"]
