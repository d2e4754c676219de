"""Leases are granted, remembered and ended here."""

from __future__ import annotations

import collections
import contextlib
import secrets
from typing import TYPE_CHECKING, NamedTuple

from celery_locks.errors import StoreUnavailable
from celery_locks.stores.etcd import messages
from celery_locks.stores.etcd.mending import LeaseKnown, LeaseUnknown, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from celery_locks.stores.etcd.naming import Names
    from celery_locks.stores.etcd.wire import Talk

#: How many are remembered: of a lock that is never given back nobody says when to forget its lease.
MOST = 10_000
#: What is in the number of a lease for several keys, and the part of it that says how many.
_JOINT, _KEYS = 1 << 62, (1 << 6) - 1


class Granted(NamedTuple):
    """A lease, and the seconds it was asked for; None when somebody else asked."""

    number: int
    ttl: int | None = None


class Leases:
    """The lease that each owner has for its lock, as far as this process knows.

    It is a hint and never believed: under which lease a lock lies is what etcd says, and what is not remembered is
    found out there. Only that of an acquire which was interrupted cannot be found, and it is the latest.
    """

    def __init__(self) -> None:
        self._known: dict[Names, Granted] = {}

    def grant(self, talk: Talk, names: Names, ttl: int) -> int:
        """A new lease for an owner's lock, remembered before etcd knows of it."""
        return self.grant_one(talk, [names], ttl)

    def grant_one(self, talk: Talk, names: Sequence[Names], ttl: int) -> int:
        """One new lease for all these locks of an owner."""
        number = new_number(len(names))
        for each in names:
            self.remember(each, Granted(number, ttl))
        grant(talk, number, ttl)
        return number

    def remember(self, names: Names, granted: Granted) -> None:
        """Note which one it is."""
        if len(self._known) >= MOST:
            # Another thread may be here too.
            with contextlib.suppress(StopIteration, RuntimeError, KeyError):
                del self._known[next(iter(self._known))]
        self._known[names] = granted

    def of(self, names: Names) -> Granted | None:
        """Which one it is, if that is known."""
        return self._known.get(names)

    def forget(self, names: Names) -> int | None:
        """Which one it was, if that was known."""
        granted = self._known.pop(names, None)
        return granted and granted.number

    def take_back(self, talk: Talk, number: int, *names: Names) -> None:
        """End one that was granted in vain, and no other: by now another thread may have one for the same owner."""
        for each in names:
            granted = self.of(each)
            if granted and granted.number == number:
                self.forget(each)
        end(talk, *[number] * len(names))


def new_number(keys: int = 1) -> int:
    """A number for a lease of so many keys, that was never used before.

    It is ours to choose, so that a grant that is sent again is the same. A revocation that arrives late must not end
    what was granted after it: so a number is never used again.
    """
    return secrets.randbelow(_JOINT - 1) + 1 if keys == 1 else _JOINT | secrets.randbits(56) << 6 | keys


def keys_under(number: int) -> int:
    """For how many keys a lease was granted, whoever did it: it must not be ended with one of them."""
    return max(1, number & _KEYS) if number & _JOINT else 1


def whole(numbers: Iterable[int | None]) -> set[int]:
    """Those leases that hold no other keys than these, each of which has said what its lease is."""
    counted = collections.Counter(numbers)
    return {number for number, count in counted.items() if number and count >= keys_under(number)}


def grant(talk: Talk, number: int, ttl: int) -> None:
    """Grant a lease of that number."""
    # It is there already when the answer to the first try was lost.
    with contextlib.suppress(LeaseKnown):
        talk.ask(messages.GRANT, messages.grant(number, ttl))


def revoke(talk: Talk, number: int) -> bool:
    """End a lease, and with it what is kept under it; whether it was there."""
    try:
        talk.ask(messages.REVOKE, messages.one(number))
    except LeaseUnknown:
        return False
    return True


def end(talk: Talk, *numbers: int | None) -> None:
    """End leases that hold nothing any more, said once for each key. One that may hold another key is left to run out.

    So is one of which it fails.
    """
    for number in whole(numbers):
        with contextlib.suppress(StoreUnavailable, Refused):
            revoke(talk, number)
