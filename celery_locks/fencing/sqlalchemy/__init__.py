"""A guard for SQLAlchemy: the fence stands in a column of the row, and each write has it as a condition.

Core and ORM, with PostgreSQL, MariaDB, MySQL and SQLite. `docs/fencing/sqlalchemy.md` shows how it is used.
"""

from __future__ import annotations

from celery_locks.fencing.sqlalchemy.columns import Fenced, FencedDataclass, fence_column
from celery_locks.fencing.sqlalchemy.writes import claim, fenced

__all__ = ["Fenced", "FencedDataclass", "claim", "fence_column", "fenced"]
