"""Hazards of locks in a database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.doctor.finding import Finding, Hazard

if TYPE_CHECKING:
    from celery_locks.doctor.ward import StoreCase
    from celery_locks.errors import LockConfigError

POOLED = Hazard(
    "CL301",
    "error",
    "An advisory lock lives in its session, which others use a moment later. The store refuses to work there, so no"
    " locked job runs.",
    "in pgbouncer.ini, for this database: pool_mode = session; or name Postgres itself, or sql+postgresql://",
)
#: In the words of the store that refuses it.
_SHARES = "pool_mode="


def pooled(case: StoreCase, error: LockConfigError) -> Finding | None:
    """A pooler lends a session for one transaction at a time."""
    if _SHARES not in error.message:
        return None
    return POOLED.found(f"{case.name} is a pooler that shares its sessions (PgBouncer's pool_mode=transaction)")
