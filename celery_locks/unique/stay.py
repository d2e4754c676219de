"""How long a place is kept for a job while its message waits in a queue and nobody beats for it."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from celery.utils.time import maybe_iso8601, maybe_make_aware

from celery_locks import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A message that is expired already may be delivered all the same, to be said revoked.
SHORTEST = 1.0


def stay(task: Any, longest: float, sent: Mapping[str, Any]) -> float:
    """So long after it is due, and no longer than until it expires: a message that the broker loses frees its key."""
    due = sent.get("countdown") if sent.get("eta") is None else sent["eta"]
    ends = max(0.0, _seconds(task.app, due) or 0.0) + longest
    expires = _seconds(task.app, sent.get("expires", task.expires))
    return min(max(SHORTEST, ends if expires is None else min(ends, expires)), duration.LONGEST)


def _seconds(app: Any, when: Any) -> float | None:
    """From now until then; None for no time."""
    if isinstance(when, str):
        when = maybe_iso8601(when)
    if isinstance(when, dt.datetime):
        # Two times of one zone would be subtracted as a clock on the wall shows them, which may be set in between.
        utc = dt.timezone.utc
        return float((maybe_make_aware(when, app.timezone).astimezone(utc) - app.now().astimezone(utc)).total_seconds())
    return None if when is None else float(when)
