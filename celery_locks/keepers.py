"""The keepers of a process, by the numbers that a pool's main process and its children both know them by."""

from __future__ import annotations

import itertools
import os
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery_locks.keeper import Keeper
    from celery_locks.ward import Watched

_numbers = itertools.count(1)
_keepers: weakref.WeakValueDictionary[int, Keeper] = weakref.WeakValueDictionary()


def entered(keeper: Keeper) -> int:
    """The number that it has from now on, here and in whatever is forked later."""
    number = next(_numbers)
    _keepers[number] = keeper
    return number


def numbered(number: int) -> Keeper | None:
    """The keeper of that number, if it still is."""
    return _keepers.get(number)


def all_watched() -> list[Watched]:
    """All leases that are kept here now: of a worker's main process also those that its pool held a moment ago."""
    return [watched for keeper in list(_keepers.values()) for watched in keeper.all_watched()]


def _start_all_afresh() -> None:
    # In the child's only thread, before anybody there can use one.
    for keeper in list(_keepers.values()):
        keeper.start_afresh()
        keeper.is_inherited = True


os.register_at_fork(after_in_child=_start_all_afresh)
