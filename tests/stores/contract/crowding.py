"""How tests ask for a key that several may hold."""

from __future__ import annotations

from celery_locks.lease import Busy, Claim, Lease
from celery_locks.stores.base import Crowds, Inspects, Store
from celery_locks.ticket import Stance, Ticket, marked


class Crowd(Store, Inspects, Crowds):
    """What the tests of crowds need of a store: its verbs, and that it shows what it holds. Never made."""


def part(key: str, owner: str, slots: int = 3, *, shared: bool = False, ttl: float = 30.0) -> Claim:
    """A claim of one of several, or of a reader."""
    return Claim(key, owner, ttl, slots=1 if shared else slots, shared=shared)


def reader(key: str, owner: str, ttl: float = 30.0) -> Claim:
    return part(key, owner, shared=True, ttl=ttl)


def alone(key: str, owner: str, ttl: float = 30.0) -> Claim:
    return Claim(key, owner, ttl)


def enter(store: Store, claim: Claim) -> Lease:
    """Acquire where there must be room."""
    answer = store.acquire(claim)
    assert isinstance(answer, Lease), f"there should be room for {claim}, and not {answer}"
    return answer


def turned_away(store: Store, claim: Claim) -> Busy:
    """Ask where there must be none."""
    answer = store.acquire(claim)
    assert isinstance(answer, Busy), f"there should be no room for {claim}"
    return answer


def owners(store: Crowd, key: str) -> list[str]:
    """Who has the key now, as they came."""
    return [holding.owner for holding in store.holders(key)]


def in_line(claim: Claim, name: str = "", stance: Stance = Stance.WAITS) -> Claim:
    """The same claim with its ticket: a new one, or that which brings it back to its place."""
    ticket = marked(name or claim.owner, claim.slots, shared=claim.shared)
    return claim._replace(ticket=Ticket(ticket, stance))
