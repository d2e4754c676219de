"""What the store tells at one look, and what it answers when a lock is to be broken."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, NamedTuple

from celery_locks import sight
from celery_locks.cli.effects import LOOKED_FIRST, effect_on, had_by
from celery_locks.cli.printing import plain
from celery_locks.errors import LockError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.sight import Seen, View
    from celery_locks.stores import Store

#: So many holders are shown: of more, those that the store lists first.
MOST = 10_000
#: As many keys as a store remembers conflicts of.
REMEMBERED = 1000


class Line(NamedTuple):
    """A holder of a key, with how many wait for that and how often it was found taken; None where nobody can tell."""

    key: str
    seen: Seen
    waiting: int | None
    conflicts: int | None


class Subject(NamedTuple):
    """What is looked at: the keys that match a glob, or one key alone."""

    pattern: str
    key: str | None = None


class Frame(NamedTuple):
    """The locks at one look, which is not of one moment. `is_cut`: there are more."""

    subject: Subject
    at: float
    lines: tuple[Line, ...] = ()
    is_cut: bool = False
    #: Of one key alone.
    view: View | None = None


class Breach(NamedTuple):
    """A lock that is to be broken: whoever else has its key by then keeps it."""

    key: str
    seen: Seen


class Said(NamedTuple):
    """What came of that, in words."""

    text: str


class Trouble(NamedTuple):
    """The store did not answer, or could not."""

    text: str
    at: float


def read(store: Store, subject: Subject, *, most: int = MOST, clock: Callable[[], float] = time.time) -> Frame:
    """Look once, a page at a time."""
    if subject.key is not None:
        return Frame(subject, clock(), view=sight.view(store, subject.key))
    tallies = sight.most_contended(store, REMEMBERED)
    conflicts = None if tallies is None else {tally.key: tally.conflicts for tally in tallies}
    found = tuple(itertools.islice(_lines(store, subject.pattern, conflicts), most + 1))
    return Frame(subject, clock(), found[:most], len(found) > most)


def answer(store: Store, asked: Subject | Breach) -> Frame | Said | Trouble:
    """Do what is asked, whatever becomes of the store."""
    try:
        return breach(store, asked) if isinstance(asked, Breach) else read(store, asked)
    except LockError as error:
        why = " ".join(error.message.split())
    except Exception as error:  # noqa: BLE001 - whatever a client raises, and it may name a password
        why = f"the store could not be asked ({type(error).__name__})"
    if isinstance(asked, Breach):
        # It may have been done, and the answer lost.
        return Said(f"Whether {plain(asked.key)} was released is not known: {why}")
    return Trouble(why, time.time())


def breach(store: Store, asked: Breach) -> Said:
    """Free the key from the holder that was shown, and from nobody who came after."""
    key, seen = asked
    if not sight.compares(store) and len(sight.holders(store, key)) > 1:
        return Said(f"Nothing was changed: {plain(key)} has several holders, and this store cannot free it from one")
    if not sight.evict(store, key, seen.holding.fence):
        return Said(f"{plain(key)} is not held by {plain(seen.owner.brief)} any more: nothing was changed")
    note = "" if sight.compares(store) else f" Note: {LOOKED_FIRST}."
    return Said(f"Released {had_by(key, [seen])}. {effect_on(key, [seen])}{note}")


def _lines(store: Store, pattern: str, conflicts: dict[str, int] | None) -> Iterator[Line]:
    for seen, waiting in itertools.chain.from_iterable(sight.rows(store, pattern)):
        key = seen.holding.key
        yield Line(key, seen, waiting, None if conflicts is None else conflicts.get(key, 0))
