"""Guards that refuse a stale writer inside the write itself.

A lock alone cannot: its holder may be paused past the ttl and write when another has the key. Each guard puts the
lease's fence beside what it writes, and refuses a lower one than it finds there, in one step with the write.
`celery_locks.fencing.sqlalchemy`, `.django` and `.redis` are guards; `guarded_write` makes one of anything that
takes a write only if nothing has changed.
"""

from __future__ import annotations

from celery_locks.errors import StaleFence
from celery_locks.fencing.bearer import FenceWarning
from celery_locks.fencing.versioned import Versioned, guarded_write

__all__ = ["FenceWarning", "StaleFence", "Versioned", "guarded_write"]
