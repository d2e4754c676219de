"""What an operator sees of the keys: who has them, since when, and who waits. Asked of the store alone."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, NamedTuple

from celery_locks.crowd import inspects
from celery_locks.errors import LockConfigError, StoreUnavailable
from celery_locks.owner import Owner
from celery_locks.stores.base import Crowds
from celery_locks.stores.naming import require_name
from celery_locks.stores.operations import Evicts, Queues, Remembers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from celery_locks.lease import Holding
    from celery_locks.stores import Store
    from celery_locks.stores.operations import Conflict, Tally, Waiter

#: So many keys at a time.
PAGE = 200
#: And so many of those in line for one.
SHOWN_IN_LINE = 100
_MICRO = 1e6


class Seen(NamedTuple):
    """A holder as it is shown. `since`: in seconds since 1970, by the store's clock; None where that is not known."""

    holding: Holding
    owner: Owner
    since: float | None


class Row(NamedTuple):
    """One line of a list: a holder, and how many wait for its key; None where the store cannot tell."""

    seen: Seen
    waiting: int | None


class View(NamedTuple):
    """All that a store tells of a key. `line` and `waiting` are None where it keeps no line, or cannot show it."""

    key: str
    holders: list[Seen]
    waiting: int | None
    line: list[Waiter] | None
    slots: int | None
    #: The latest times it was found taken; None where nobody remembers, or what does cannot be asked.
    conflicts: list[Conflict] | None


def rows(store: Store, pattern: str = "*") -> Iterator[list[Row]]:
    """The keys taken now whose name matches the glob, a page at a time; no promise of one moment for all."""
    found = inspects(store).list(pattern)
    while page := list(itertools.islice(found, PAGE)):
        yield [Row(seen(store, holding), waiting) for holding, waiting in zip(page, _waiting(store, page), strict=True)]


def view(store: Store, key: str) -> View:
    """One key. What is asked one after the other may not be of one moment."""
    found = [seen(store, holding) for holding in holders(store, key)]
    conflicts = _conflicts(store, key)
    if not isinstance(store, Queues):
        return View(key, found, None, None, _slots(store, key), conflicts)
    [waiting] = store.waiting([key])
    return View(key, found, waiting, store.line(key, SHOWN_IN_LINE), _slots(store, key), conflicts)


def most_contended(store: Store, most: int) -> list[Tally] | None:
    """The keys with the most conflicts; None where nobody remembers, or what does cannot be asked."""
    if not isinstance(store, Remembers):
        return None
    # It may lie in a table of its own, or need rights of its own: without those the locks are shown nevertheless.
    with contextlib.suppress(StoreUnavailable):
        return store.most_contended(most)
    return None


def holders(store: Store, key: str) -> list[Holding]:
    """Who has the key now: nobody, one, or several where they may."""
    if isinstance(store, Crowds):
        return store.holders(require_name(key))
    holding = inspects(store).inspect(require_name(key))
    return [holding] if holding else []


def seen(store: Store, holding: Holding) -> Seen:
    """A holder, and what its name and fence tell."""
    # A lock that something else wrote has no fence.
    is_known = inspects(store).fence_is_time and holding.fence > 0
    return Seen(holding, Owner.of(holding.owner), holding.fence / _MICRO if is_known else None)


def evict(store: Store, key: str, fence: int) -> bool:
    """Free a key from the holder with this fence; False, and nothing done, when that has it not.

    Compared within the store where it `compares`. Elsewhere who has the key is looked at just before, and one that
    takes it between the two is put out in its place.
    """
    if isinstance(store, Evicts):
        return store.evict(require_name(key), fence)
    found = [holding.fence for holding in holders(store, key)]
    if fence not in found:
        return False
    if len(found) > 1:
        raise LockConfigError(f"{key!r} is held by {len(found)}, and this store cannot free it from one of them alone")
    return inspects(store).force_release(key)


def compares(store: Store) -> bool:
    """Whether the store itself sees to it that nobody but the holder that is meant is put out."""
    return isinstance(store, Evicts)


def _conflicts(store: Store, key: str) -> list[Conflict] | None:
    if isinstance(store, Remembers):
        with contextlib.suppress(StoreUnavailable):
            return store.conflicts(key)
    return None


def _slots(store: Store, key: str) -> int | None:
    return store.slots(key) if isinstance(store, Crowds) else None


def _waiting(store: Store, page: Sequence[Holding]) -> Sequence[int | None]:
    if not isinstance(store, Queues):
        return [None] * len(page)
    return store.waiting([holding.key for holding in page])
