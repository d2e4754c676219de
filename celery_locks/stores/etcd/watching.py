"""Waits for the end of a lock, told by a member over a stream."""

from __future__ import annotations

import http.client
import time
from typing import TYPE_CHECKING

from celery_locks.errors import StoreUnavailable
from celery_locks.stores.etcd import messages
from celery_locks.stores.etcd.member import SOON
from celery_locks.stores.etcd.mending import Refused, TokenOver

if TYPE_CHECKING:
    from celery_locks.stores.etcd.wire import Talk, Wire

#: How long to wait, unseeing, where there was no watch to be had: whoever asks again and again must not do so at once.
UNSEEING = 0.25


class Watch:
    """A stream of its own, for one lock and one who waits. What goes wrong with it ends the wait, and no more.

    The next acquire, which follows, says what is wrong with the cluster. A member without a leader is not waited for:
    it would not hear of the release.
    """

    def __init__(self, wire: Wire, name: str, seconds: float) -> None:
        self._wire = wire
        self._name = name
        self._until = time.monotonic() + seconds

    def wait(self, known: int, count: int = 1) -> None:
        """Return when the lock may be free. It was seen taken at the revision `known`, by so many."""
        member = self._wire.member()
        try:
            self._watched(known, count)
        except TokenOver:
            self._wire.token = ""
        except (OSError, http.client.HTTPException, Refused):
            if self._left():
                self._wire.pass_over(member)
        except StoreUnavailable:
            pass
        else:
            return
        time.sleep(min(UNSEEING, self._left()))

    def _watched(self, known: int, count: int) -> None:
        with self._talk().stream(messages.WATCH, messages.watch(self._name)) as hear:
            # From now on: what etcd tells of the past comes up to a tenth of a second late.
            began = messages.began(hear(min(self._wire.address.try_timeout, self._left())))
            if began <= known or self._is_taken(count):
                hear(self._left())

    def _is_taken(self, count: int) -> bool:
        """Whether nothing of it was given back between our last look and the beginning of the watch."""
        there = messages.shown(self._talk().ask(messages.RANGE, messages.everyone(self._name)))
        return sum(1 for _ in there) >= count

    def _talk(self) -> Talk:
        return self._wire.talk(min(self._wire.address.timeout, max(SOON, self._left())))

    def _left(self) -> float:
        return max(0.0, self._until - time.monotonic())
