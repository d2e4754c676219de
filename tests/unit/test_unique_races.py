"""Many senders and several workers at once: nothing is lost, and nothing is queued twice."""

from __future__ import annotations

import itertools
import queue
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from celery.exceptions import Retry

from tests.waiting import wait_until

if TYPE_CHECKING:
    from tests.unit.mail import Mail

KEYS = range(60)
SENDS = 5
#: Of these the last send comes after a start.
FOLLOWED = KEYS[::10]


class Rush:
    """Three senders and three workers of one task. Each notes what it does, in one order for all."""

    def __init__(self, post: Mail) -> None:
        self.post = post
        self.order = itertools.count()
        self.sends: dict[int, list[int]] = {key: [] for key in KEYS}
        self.starts: dict[int, list[int]] = {key: [] for key in KEYS}
        self.outstanding = dict.fromkeys(KEYS, 0)
        self.twice: list[int] = []
        self.errors: list[object] = []
        self._waiting: queue.SimpleQueue = queue.SimpleQueue()
        self._published = post.task.app.send_task
        post.task.app.send_task = self._publish
        post.body = self._body

    def go(self) -> None:
        """Until all that was sent is done."""
        workers = [threading.Thread(target=self._work) for _ in range(3)]
        senders = [threading.Thread(target=self._send) for _ in range(3)]
        for each in (*workers, *senders):
            each.start()
        for each in senders:
            each.join(60)
        for _ in workers:
            self._waiting.put(None)
        for each in workers:
            each.join(60)
            assert not each.is_alive()

    def _send(self) -> None:
        for key in KEYS:
            for number in range(SENDS):
                if key in FOLLOWED and number == SENDS - 1:
                    # Else a busy machine may run all senders first, and no worker between them.
                    wait_until(lambda key=key: self.starts[key], f"a start of job {key}", 60)
                at = next(self.order)
                self.post.task.delay(key)
                self.sends[key].append(at)

    def _publish(self, name, args, kwargs, **message):
        if not message.get("retries") and not (message.get("headers") or {}).get("lock_requeues"):
            [key] = args
            self.outstanding[key] += 1
            if self.outstanding[key] > 1:
                self.twice.append(key)
        result = self._published(name, args, kwargs, **message)
        self._waiting.put({"args": args, "kwargs": kwargs or {}, **message})
        return result

    def _body(self, task) -> None:
        [key] = task.request.args
        self.starts[key].append(next(self.order))
        time.sleep(0.001)
        self.outstanding[key] -= 1

    def _work(self) -> None:
        # Behind the last word to a worker there may be a job that went back to its queue.
        while (message := self._waiting.get()) or not self._waiting.empty():
            if message is None:
                self._waiting.put(None)
                continue
            ended = self.post.run(message)
            if ended is not None and not isinstance(ended, Retry):
                self.errors.append(ended)


@pytest.fixture
def _switching_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_switching_often")
def test_what_is_sent_is_followed_by_a_start(mail):
    """With "until_start" a body begins after every send, be it that of the job or that of the one that was there."""
    rush = Rush(mail(lock_unique="until_start"))
    rush.go()
    assert rush.errors == []
    assert [key for key in KEYS if max(rush.starts[key]) < max(rush.sends[key])] == []
    assert len(KEYS) < sum(map(len, rush.starts.values())) < 3 * SENDS * len(KEYS), "this run proves nothing"


@pytest.mark.usefixtures("_switching_often")
def test_nothing_is_queued_twice(mail):
    """With "until_done" a job is published only when none of its key is queued or has yet to do its work."""
    rush = Rush(mail(lock_unique="until_done"))
    rush.go()
    assert (rush.errors, rush.twice) == ([], [])
    assert rush.outstanding == dict.fromkeys(KEYS, 0)
    assert not list(rush.post.room.locks.list("unique:*"))
