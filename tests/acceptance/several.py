"""Jobs of one worker with leases in several stores, and of several apps."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from celery import Celery

from celery_locks import LockedTask, Locks
from celery_locks.current import current_lease
from tests.acceptance.bodies import noted
from tests.acceptance.queues import configure
from tests.acceptance.stubborn import _C, app
from tests.acceptance.tasks import declare
from tests.waiting import wait_until

__all__ = ["app"]

OTHER = os.environ["ACCEPTANCE_OTHER_STORE"]
second = Celery("second", set_as_current=False)
configure(second)
second.conf.update(json.loads(os.environ["ACCEPTANCE_CONF"]), lock_store=OTHER)


@second.task(base=LockedTask, name="inner", lock_key="{key}-inner", lock_ttl=2.0)
def inner(key: str, seconds: float) -> bool:  # noqa: ARG001 - it is in the template
    """A job of the second app, with the interpreter for itself; whether it has its key at its end."""
    _C.usleep(int(seconds * 1e6))
    return current_lease().held()


def holds_in_several(self: Any, key: str, job: str, seconds: float, until: str) -> list[bool]:
    """Hold a key in the app's store, one in the other, and one of the second app; whether all were kept."""
    other = Locks.from_app(app, OTHER).lock(f"{key}-other", ttl=self.lock_ttl, heartbeat=True)
    with noted(self, key, job), other as lease:
        held = inner(key, seconds)
        wait_until(Path(until).exists, f"{until} to be there", timeout=60)
        return [current_lease().held(), lease.held(), held]


declare("holds_in_several", holds_in_several, lock_ttl=2.0)
declare("holds_in_several_for_long", holds_in_several, lock_ttl=300.0)


def by_url(self: Any, key: str, job: str, seconds: float) -> bool:
    """Have the interpreter for itself, under a lock in the other store."""
    with noted(self, key, job):
        _C.usleep(int(seconds * 1e6))
        return current_lease().held()


declare("by_url", by_url, lock_ttl=2.0, lock_store=OTHER)
