"""A guard for anything that takes a write only if nothing has changed: an ETag with If-Match, a row's version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from celery_locks.errors import LockError
from celery_locks.fencing.bearer import bearer, stale

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.lease import Lease
    from celery_locks.lock import Lock

V = TypeVar("V")
_TRIES = 10


class Versioned(Protocol[V]):
    """A place for a value and its fence that takes a write only if nothing has changed since it was read."""

    def read(self) -> tuple[V, int, Any]:
        """The value, the fence beside it, 0 for none, and the version that both are of."""

    def write(self, value: V, fence: int, version: Any) -> bool:
        """Write value and fence if the place is still of that version, and say whether it was."""


def guarded_write(
    place: Versioned[V], change: Callable[[V], V], *, key: str | None = None, lease: Lease | Lock | None = None
) -> V:
    """Write what `change` makes of the value that is there, and give it; `StaleFence` where a higher fence is.

    What is read is what is written over: when somebody has written meanwhile it is read again, and `change` is
    called again. After ten times of that `LockError` is raised: somebody writes without the lock.
    """
    found = bearer(lease, key)
    for _ in range(_TRIES):
        value, fence, version = place.read()
        if fence > found.fence:
            raise stale(found, _shown(place), fence)
        value = change(value)
        if place.write(value, found.fence, version):
            return value
    raise LockError(
        f"{_shown(place)} was not written: each of {_TRIES} times it had changed between the read and the write. Those"
        f" who change it do not hold {found.key!r}: let them take the lock, or make `change` quicker",
        found.key,
    )


def _shown(place: object) -> str:
    name = type(place).__name__
    return name if type(place).__str__ is object.__str__ else f"{name} {place}"
