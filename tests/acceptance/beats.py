"""`celery beat` as private processes, and what they have sent: read from the broker's queue, without a worker."""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from celery_locks import Locks
from celery_locks.owner import Owner
from celery_locks.stores.positions import Positions
from tests.acceptance.nodes import PROMPTLESS, ROOT
from tests.servers.process import PrivateServer
from tests.servers.programs import Program
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.servers.redis import RedisServer

KEY = "beat-leader:scheduled"
SCHEDULER = "celery_locks.beat.LockedScheduler"


class Beat(PrivateServer):
    """One `celery beat`. Ready when it leads or stands by."""

    program: ClassVar[Program] = Program("celery", apt="", brew="")
    patience = 45

    def __init__(self, conf: Mapping[str, Any], module: str) -> None:
        super().__init__()
        self._conf = json.dumps(dict(conf))
        self._module = module

    def command(self) -> list[str]:
        return [sys.executable, "-m", "celery", "-A", self._module, "beat", "-S", SCHEDULER, "-l", "INFO"]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": f"{PROMPTLESS}{os.pathsep}{ROOT}", "ACCEPTANCE_CONF": self._conf}

    def answers(self) -> bool:
        return "beat: we lead" in self.log() or "beat: standing by" in self.log()

    def log(self) -> str:
        """All that it has written."""
        return self._log.read_text(errors="replace")


class Sent(NamedTuple):
    """A message in the queue."""

    due: datetime
    task_id: str


class Scene:
    """Some beats, the store of their lead, and the queue that they send to."""

    def __init__(
        self, broker: RedisServer, store: str, queue: str, *, module: str = "tests.acceptance.scheduled", **conf: Any
    ) -> None:
        self.broker, self.queue, self.module = broker, queue, module
        self.conf = {
            "broker_url": broker.url,
            "lock_store": store,
            "lock_prefix": f"{queue}:",
            "lock_beat_ttl": 2.0,
            "task_default_queue": queue,
            "beat_schedule": {"report": {"task": "report", "schedule": 1.0}},
            **conf,
        }
        self.locks = Locks(store, prefix=f"{queue}:")
        self.beats = [Beat(self.conf, module) for _ in range(3)]

    def leader(self) -> Beat:
        """Who leads, once somebody alive does."""

        def leading() -> Beat | None:
            holder = self.locks.holder(KEY)
            pid = Owner.of(holder.owner).pid if holder else None
            return next((each for each in self.beats if each.is_alive() and each.pid == pid), None)

        return wait_until(leading, "a beat to lead", 30)

    def kill(self, beat: Beat) -> None:
        """End one without a word, and start another in its place."""
        self.beats[self.beats.index(beat)] = another = Beat(self.conf, self.module)
        beat.kill()
        beat.close()
        another.start()

    def sent(self, queue: str | None = None) -> list[Sent]:
        """All messages in its queue, or in another one, the first first."""
        messages = [json.loads(text) for text in self.broker.ask("LRANGE", queue or self.queue, 0, -1)]
        headers = [message["headers"] for message in reversed(messages)]
        return [Sent(datetime.fromisoformat(each["lock_due"]), each["id"]) for each in headers]

    def wait_for_more(self, count: int, queue: str | None = None) -> None:
        """So many more are sent, and the last is noted: the next is due in a while."""
        wanted = len(self.sent(queue)) + count
        wait_until(lambda: len(self.sent(queue)) >= wanted, f"{count} more messages", 60, interval=0.05)
        wait_until(self._is_noted, "what was sent to be noted", interval=0.05)

    def _is_noted(self) -> bool:
        # To take them up again under the fence that the leader has changes nothing.
        holder, store = self.locks.holder(KEY), self.locks.store
        assert isinstance(store, Positions)
        texts = holder and store.take_up(KEY, holder.fence)
        return bool(texts) and all("due" not in json.loads(text) for text in texts.values())

    def close(self) -> None:
        """End all."""
        for beat in self.beats:
            beat.close()
        self.locks.close()


def each_second_once(scene: Scene, queue: str | None = None) -> None:
    """All due times from the first to the last, in order, a second apart, each with one message and its own id."""
    consecutive(scene.sent(queue))


def consecutive(sent: list[Sent]) -> None:
    """The same of some messages."""
    assert [each.due for each in sent] == [sent[0].due + timedelta(seconds=number) for number in range(len(sent))]
    assert len({each.task_id for each in sent}) == len(sent)
