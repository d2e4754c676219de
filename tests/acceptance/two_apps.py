"""A second app beside the first, with a store and options of its own."""

from __future__ import annotations

import json
import os
from typing import Any

from celery import Celery

from celery_locks import LockedTask, current_lease
from tests.acceptance.queues import configure
from tests.acceptance.tasks import app, declare

__all__ = ["app"]

second = Celery("second", set_as_current=False)
configure(second)
second.conf.update(json.loads(os.environ["ACCEPTANCE_CONF"]), lock_store="memory://second", lock_ttl=9.0)


@second.task(base=LockedTask, name="inner", bind=True, lock_key="{key}")
def inner(self: Any, key: str) -> float:  # noqa: ARG001 - it is in the template
    """A job of the second app."""
    return float(self.lease.ttl)


def outer(self: Any, key: str, job: str) -> dict[str, Any]:  # noqa: ARG001 - every job has a name
    """A job of the first app that calls one of the second, with the same key, in both ways."""
    before = self.lease.ttl
    called = [inner(key), inner.apply((key,)).result]
    return {"before": before, "inner": called, "after": current_lease().ttl}


declare("outer", outer)
