"""What is asked of a lock, checked, and what is said when its key is not to be had."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from celery_locks import duration
from celery_locks.errors import LockConfigError, LockNotOwned, LockTimeout
from celery_locks.keys import in_order
from celery_locks.stores.naming import require_name

if TYPE_CHECKING:
    from celery_locks.lease import Busy, Claim, Holding
    from celery_locks.stores import Store

Keys: TypeAlias = "str | list[str] | tuple[str, ...]"


def keys_of(key: Keys) -> tuple[str, ...]:
    """The keys of a lock on one or several. A list in which a key comes twice is one with that key once."""
    if not isinstance(key, (list, tuple)):
        return (require_name(key),)
    if not key:
        raise LockConfigError("a lock on several keys was given an empty list: name at least one key")
    return in_order(map(require_name, key))


def longest(blocking: bool, timeout: float | None, claim: Claim) -> float | None:  # noqa: FBT001 - as threading.Lock
    """Seconds that one who blocks like that waits; None: for ever."""
    if not blocking:
        if timeout is not None:
            raise LockConfigError(f"lock {claim.shown}: a timeout makes no sense with blocking=False; leave one out")
        return 0.0
    if timeout is None:
        return None
    try:
        return duration.seconds("timeout", timeout, f"lock {claim.shown}")
    except LockConfigError as error:
        # `threading.Lock` waits for ever with -1.
        raise LockConfigError(f"{error}; to wait for ever leave it out") from None


def timeout(key: str, busy: Busy, waited: float) -> LockTimeout:
    """The error for a key that stayed taken."""
    by = f"held by {busy.holder}" if busy.holder else "taken"
    after = f" after {waited:g} s" if waited else ""
    return LockTimeout(f"{key!r} is {by}{after}: try later, or wait longer", key, busy.holder)


def not_owned(claim: Claim, holding: Holding | None, verb: str) -> LockNotOwned:
    """The error for a key that somebody else has, or nobody."""
    it = repr(holding.key) if holding and claim.others else "it"
    who = f"{holding.owner} has {it}" if holding else "this lock does not hold it"
    return LockNotOwned(
        f"{claim.shown} cannot be {verb}: {who}; released already, or its lease ran out: use a longer ttl or"
        " heartbeat=True",
        holding.key if holding else claim.key,
        holding.owner if holding else None,
    )


def can_stay(store: Store, at_least: float, where: str) -> float:
    """For how long a key is to stay taken, if it can in this store."""
    if at_least and store.in_connection:
        raise LockConfigError(
            f"{where}: at_least={at_least:g} cannot be kept by {type(store).__name__}: its locks end with their"
            " connection or file, and have no ttl for which they could stay; use a store that has, such as Redis, SQL"
            " or etcd"
        )
    return at_least
