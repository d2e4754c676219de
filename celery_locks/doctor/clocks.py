"""Hazards of clocks: the store's, this machine's, and those of the workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.doctor.finding import Finding, Hazard, some
from celery_locks.doctor.ward import Ahead
from celery_locks.stores.operations import Clocked

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from celery_locks.doctor.ward import AppCase, StoreCase

#: Clocks that are kept by NTP differ by less, also with a slow question in between.
APART = 2.0

CLOCKS = Hazard(
    "CL004",
    "warning",
    "Countdowns of workers whose clocks differ come early or late, ages in list and show are wrong by as much, and"
    " after a failover to a server with another clock fences may go back.",
    "keep all clocks by NTP (chrony, systemd-timesyncd)",
)


def clocks_apart(case: StoreCase) -> Iterator[Finding]:
    """The store's clock is not this machine's, or not that of a worker."""
    if not isinstance(case.store, Clocked):
        return
    before = case.now()
    there = Ahead.read(case.store.time(), before, case.now())
    if there.is_beyond(APART):
        yield CLOCKS.found(f"{case.name}: its clock is {there.said} this machine's")
    if said := _differing({worker: ahead.beside(there) for worker, ahead in case.clocks.items()}):
        yield CLOCKS.found(f"{case.name}: clocks of workers differ from its clock: {said}")


def clocks_of_workers_apart(case: AppCase) -> Iterator[Finding]:
    """A worker's clock is not this machine's."""
    if said := _differing(case.clocks):
        yield CLOCKS.found(f"{case.name}: clocks of workers differ from this machine's: {said}")


def _differing(clocks: Mapping[str, Ahead]) -> str:
    return some([f"{worker} is {ahead.said} it" for worker, ahead in sorted(clocks.items()) if ahead.is_beyond(APART)])


OF_STORES = (clocks_apart,)
OF_APPS = (clocks_of_workers_apart,)
