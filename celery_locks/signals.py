"""Signals: call a function when something happens to a lock.

    from celery_locks.signals import contended

    @contended.connect
    def count(event): ...

A receiver takes one record from `celery_locks.events`. Whatever it raises is logged, once a minute, and harms no job.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from celery_locks import events

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Signal",
    "acquired",
    "beat",
    "contended",
    "duplicate",
    "expired",
    "freed",
    "lost",
    "outage",
    "released",
    "requeued",
    "skipped",
    "woken",
]

logger = logging.getLogger("celery_locks.signals")
Happened = TypeVar("Happened", bound=events.Event)

#: A receiver that fails does so at each of thousands of events: seconds between two of its tracebacks.
PAUSE = 60.0
_clock = time.monotonic


class Signal(Generic[Happened]):
    """A list of receivers. An empty one is false, so that an event nobody wants is never made."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._receivers: tuple[Callable[[Happened], object], ...] = ()
        #: Until when no more is said of a receiver that failed, by its identity: not all of them can be hashed.
        self._silent_until: dict[int, float] = {}

    def connect(self, receiver: Callable[[Happened], object]) -> Callable[[Happened], object]:
        """Call `receiver` with every event from now on; usable as a decorator. Connecting twice calls once."""
        if receiver not in self._receivers:
            self._silent_until.pop(id(receiver), None)
            self._receivers = (*self._receivers, receiver)
        return receiver

    def disconnect(self, receiver: Callable[[Happened], object]) -> None:
        """Call it no more; nothing happens if it was not connected."""
        self._receivers = tuple(each for each in self._receivers if each != receiver)
        self._silent_until.pop(id(receiver), None)

    def send(self, event: Happened) -> None:
        """Hand the event to every receiver, in the order they came."""
        for receiver in self._receivers:
            try:
                receiver(event)
            except Exception:  # noqa: PERF203 - each receiver fails for itself
                if self._is_to_be_told(receiver):
                    logger.exception("a receiver of the signal %r failed on %r: %r", self.name, event, receiver)

    def _is_to_be_told(self, receiver: object) -> bool:
        now, known = _clock(), id(receiver)
        if now < self._silent_until.get(known, -math.inf):
            return False
        self._silent_until[known] = now + PAUSE
        return True

    def __bool__(self) -> bool:
        return bool(self._receivers)

    def __repr__(self) -> str:
        return f"<Signal {self.name}: {len(self._receivers)} receivers>"


acquired: Signal[events.Acquired] = Signal("acquired")
contended: Signal[events.Contended] = Signal("contended")
requeued: Signal[events.Requeued] = Signal("requeued")
woken: Signal[events.Woken] = Signal("woken")
skipped: Signal[events.Skipped] = Signal("skipped")
duplicate: Signal[events.Duplicate] = Signal("duplicate")
released: Signal[events.Released] = Signal("released")
freed: Signal[events.Freed] = Signal("freed")
expired: Signal[events.Expired] = Signal("expired")
beat: Signal[events.Beat] = Signal("beat")
lost: Signal[events.Lost] = Signal("lost")
outage: Signal[events.Outage] = Signal("outage")
