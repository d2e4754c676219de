"""What the page shows and does, as objects for JSON: what the verbs of the command line say with `--json`.

Names are sent twice where they are given back: as they are, and as they can be shown.
"""

from __future__ import annotations

import itertools
import re
from typing import TYPE_CHECKING, Any

from celery_locks import sight
from celery_locks.cli import people
from celery_locks.cli.effects import LOOKED_FIRST, effect_on
from celery_locks.cli.inquiry import Inquiry
from celery_locks.cli.printing import plain
from celery_locks.cli.web.gate import Refused
from celery_locks.owner import Owner
from celery_locks.stores.operations import Queues

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery_locks.cli.inquiry import Job
    from celery_locks.sight import Row, Seen
    from celery_locks.stores import Store
    from celery_locks.stores.operations import Conflict, Waiter

#: So many rows at first, and so many at most: a browser is no place for a million.
ROWS, MOST_ROWS = sight.PAGE, 2000
#: So many keys in the charts.
CHARTED = 10
_FENCE = re.compile(r"[0-9]{1,40}")
#: Seconds that the workers are given to say what they do.
PATIENCE = 2.0


class Window:
    """Answers each question of the page from a store, and from the workers of an app where there is one."""

    def __init__(self, store: Store, place: str, app: Any = None) -> None:
        self._store = store
        self._place = place
        self._app = app

    def locks(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """The keys taken now that match a glob, up to a number."""
        most = _number(asked, "most", ROWS, MOST_ROWS)
        rows = itertools.chain.from_iterable(sight.rows(self._store, asked.get("pattern") or "*"))
        found = list(itertools.islice(rows, most + 1))
        return {
            "place": plain(self._place),
            "lines": isinstance(self._store, Queues),
            "asks": self._app is not None,
            "rows": [_row(row) for row in found[:most]],
            "more": len(found) > most,
        }

    def lock(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """One key: its holders, its line, and who found it taken lately."""
        view = sight.view(self._store, _key(asked))
        return {
            "key": view.key,
            "shown": plain(view.key),
            "holders": [_holder(seen) for seen in view.holders],
            "slots": view.slots,
            "waiting": view.waiting,
            "line": None if view.line is None else [_waiter(each, place) for place, each in enumerate(view.line, 1)],
            "conflicts": None if view.conflicts is None else [_conflict(each) for each in view.conflicts],
        }

    def jobs(self, asked: Mapping[str, str]) -> dict[str, Any]:
        """What the holders of a key do at this moment, said by their workers."""
        if self._app is None:
            raise Refused(400, "there is no app whose workers could be asked: celery -A proj locks web")
        found = [sight.seen(self._store, each) for each in sight.holders(self._store, _key(asked))]
        inquiry = Inquiry(self._app, [seen.owner for seen in found])
        inquiry.ask(PATIENCE)
        return {"jobs": [_job(inquiry, seen.owner) for seen in found]}

    def stats(self, _asked: Mapping[str, str]) -> dict[str, Any]:
        """The keys that are most often found taken; None where nobody remembers, or what does cannot be asked."""
        found = sight.most_contended(self._store, CHARTED)
        return {"tallies": found and [{**tally._asdict(), "shown": plain(tally.key)} for tally in found]}

    def release(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Free a key from the holder that was shown, and from nobody who came after."""
        key, fence = _key(asked), asked.get("fence")
        if not isinstance(fence, str) or not _FENCE.fullmatch(fence):
            raise Refused(400, "the fence of the holder that was shown is missing: nothing was changed")
        if not int(fence):
            raise Refused(409, f"{plain(key)} has no fence to be told by: free it with release --force, at a terminal")
        found = [sight.seen(self._store, each) for each in sight.holders(self._store, key)]
        meant = next((seen for seen in found if seen.holding.fence == int(fence)), None)
        if meant is None or not sight.evict(self._store, key, int(fence)):
            raise Refused(409, f"{plain(key)} is not held by the one that was shown any more: nothing was changed")
        note = "" if sight.compares(self._store) else f"{LOOKED_FIRST}."
        return {
            "shown": plain(key),
            "holder": plain(meant.owner.brief),
            "effect": effect_on(key, [meant]),
            "note": note,
        }


def _number(asked: Mapping[str, str], name: str, usual: int, most: int) -> int:
    text = asked.get(name, "")
    return min(most, max(1, int(text))) if text.isascii() and text.isdigit() and len(text) < len("1000000") else usual


def _key(asked: Mapping[str, Any]) -> str:
    key = asked.get("key")
    if not isinstance(key, str) or not key:
        raise Refused(400, "no key was named")
    return key


def _legible(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: plain(value) if isinstance(value, str) else value for name, value in told.items()}


def _holder(seen: Seen) -> dict[str, Any]:
    # A browser's numbers end at 2^53, and a fence may be any.
    brief = plain(seen.owner.brief)
    return {**_legible(people.told(seen)), "fence": str(seen.holding.fence), "brief": brief}


def _row(row: Row) -> dict[str, Any]:
    key = row.seen.holding.key
    return {"key": key, "shown": plain(key), "waiting": row.waiting, **_holder(row.seen)}


def _waiter(waiter: Waiter, place: int) -> dict[str, Any]:
    return _legible(people.told_of_waiter(waiter, place))


def _conflict(conflict: Conflict) -> dict[str, Any]:
    asker, holder = (Owner.of(each).brief if each else None for each in (conflict.asker, conflict.holder))
    said = {"asker": asker, "holder": holder, "ago": people.age(conflict.when), "held": conflict.age}
    return _legible(said)


def _job(inquiry: Inquiry, owner: Owner) -> dict[str, Any]:
    if why := people.no_job(owner):
        return {"owner": plain(owner.name), "why": why}
    job: Job | None = inquiry.job(owner)
    told = {**_legible(job._asdict()), "why": None} if job else {"why": inquiry.outcome}
    return {"owner": plain(owner.name), **told}
