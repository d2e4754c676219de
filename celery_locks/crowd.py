"""Who has a key, of a store that can tell: one holder, or several."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.errors import LockConfigError
from celery_locks.stores import Inspects
from celery_locks.stores.base import Crowds

if TYPE_CHECKING:
    from celery_locks.lease import Holding
    from celery_locks.stores import Store

NEEDS_CROWDS = "slots and shared locks need a store that knows several holders of one key"


def inspects(store: object) -> Inspects:
    """The store, if it can show what it holds."""
    if isinstance(store, Inspects):
        return store
    raise LockConfigError(f"{type(store).__name__} cannot show or force what it holds")


def crowds(store: Store, where: str) -> Crowds:
    """The store, if several can hold one of its keys."""
    if isinstance(store, Crowds):
        return store
    why = store.why_no_crowds or f"{type(store).__name__} knows one"
    take = "take redis://, valkey://, sql+..., etcd:// or zookeeper://, or memory:// in tests"
    raise LockConfigError(f"{where}: {NEEDS_CROWDS}, and {why}: {take}")


def holders(store: Store, key: str) -> list[Holding]:
    """All who have the key now."""
    if isinstance(store, Crowds):
        return store.holders(key)
    holding = inspects(store).inspect(key)
    return [holding] if holding else []


def held_by(store: Store, key: str, owner: str) -> Holding | None:
    """What this owner has of the key."""
    return next((each for each in holders(store, key) if each.owner == owner), None)
