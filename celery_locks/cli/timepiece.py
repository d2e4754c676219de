"""Asks the workers of an app what time it is there."""

from __future__ import annotations

import time
from typing import Any

from celery_locks.cli.question import Question
from celery_locks.doctor.ward import Ahead


class Timepieces(Question):
    """Their clocks beside this machine's. A worker that does not tell its own has none here."""

    def __init__(self, app: Any) -> None:
        super().__init__(app, "locks")
        self._before = 0.0
        self._clocks: dict[str, Ahead] = {}

    def sent(self) -> None:
        """A worker's clock is read after this moment."""
        self._before = time.time()

    def heard(self, worker: str, said: Any) -> None:
        """And before this one."""
        there = said.get("clock") if isinstance(said, dict) else None
        if isinstance(there, (int, float)):
            self._clocks[worker] = Ahead.read(there, self._before, time.time())

    @property
    def clocks(self) -> dict[str, Ahead]:
        """By the names of the workers. An answer that comes too late is not among them."""
        return dict(self._clocks)
