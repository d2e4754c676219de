"""The line of a key, as it is shown."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from celery_locks.ticket import undated
from tests.stores.contract.asking import claim, take
from tests.stores.contract.waiting import away, joined

if TYPE_CHECKING:
    from celery_locks.stores import Store
    from tests.stores.contract.waiting import Queue


class QueuesContract:
    """For stores that can show the lines they keep."""

    def test_those_who_wait_are_shown_in_their_order(self, queue: Queue, store: Store, key: str) -> None:
        """With where they stand and since when, by a clock that goes like ours; those who are away come last."""
        began = time.time()
        take(queue, key, "holder")
        gone = away(queue, key, "gone")
        first, second = joined(store, key, "first", "second")
        shown = queue.line(key)
        assert [each.ticket for each in shown] == [undated(ticket) for ticket in (first, second, gone)]
        assert [each.stands for each in shown] == ["queue", "queue", "away"]
        assert all(began - 5 < each.since < time.time() + 5 for each in shown)
        assert shown == store.line(key)

    def test_whom_a_key_is_kept_for_is_shown_as_called(self, queue: Queue, key: str) -> None:
        """It still stands in line, before all others, until it takes the key."""
        take(queue, key, "holder")
        joined(queue, key, "first", "second")
        assert queue.release(claim(key, "holder"))
        assert [(each.ticket, each.stands) for each in queue.line(key)] == [("first", "called"), ("second", "queue")]
        assert queue.line(key)[0].since is None

    def test_all_who_wait_are_counted(self, queue: Queue, store: Store, key: str) -> None:
        """For many keys at once, also those that nobody waits for; and no more are shown than were asked for."""
        keys = [f"{key}:{number}" for number in range(3)]
        for number, each in enumerate(keys):
            take(queue, each, "holder")
            joined(queue, each, *(f"{each} {place}" for place in range(number)))
        assert store.waiting([*keys, f"{key}:free"]) == [0, 1, 2, 0]
        assert store.waiting([]) == []
        assert len(queue.line(keys[2], 1)) == 1
        assert queue.line(keys[0]) == []
