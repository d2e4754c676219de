"""Jobs that are in their queue only once, sent by several processes at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from celery import Celery

from tests.acceptance.counter import Counter, declare_on
from tests.acceptance.office import PATIENCE, only_redis
from tests.stores.processes import Crew
from tests.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.acceptance.office import Office

pytestmark = only_redis

SENDERS, TIMES = 6, 10


class Sender(NamedTuple):
    """A web process, with an app of its own. It sends each job when its door is open, and writes down the id it got."""

    broker: str
    store: str
    key: str
    folder: Path

    def sends(self, name: str) -> None:
        with Celery(name, broker=self.broker, set_as_current=False) as app:
            single = declare_on(app, self.store)["single"]
            for time in range(TIMES):
                wait_until((self.folder / f"door {time}").exists, "the door", timeout=2 * PATIENCE)
                job = single.apply_async(kwargs={"key": f"{self.key}-{time}", "job": name}, queue=self.key)
                (self.folder / f"{time} {name}").write_text(job.id)

    def ids(self, time: int) -> set[str]:
        """What all of them got, once they did."""
        got = [self.folder / f"{time} sender {number}" for number in range(SENDERS)]
        wait_until(lambda: all(each.exists() and each.read_text() for each in got), "all to have sent it", PATIENCE)
        return {each.read_text() for each in got}


def test_processes_that_send_at_once(desk: Office, tmp_path: Path) -> None:
    """One message each time, and all have the id that is in it."""
    sender = Sender(desk.app.conf.broker_url, desk.vault.url, desk.key, tmp_path)
    with Crew() as crew:
        for number in range(SENDERS):
            crew.start(sender.sends, f"sender {number}")
        for time in range(TIMES):
            (tmp_path / f"door {time}").touch()
            [sent] = sender.ids(time)
            holder = desk.locks.holder(f"unique:single:{desk.key}-{time}")
            assert holder is not None
            assert f"[{sent}]@" in holder.owner
        crew.done(PATIENCE)
    assert desk.waiting_in(desk.key) == TIMES


def test_two_senders(desk: Office) -> None:
    """What one takes the other finds taken."""
    with Celery("other", broker=desk.app.conf.broker_url, set_as_current=False) as other:
        there = declare_on(other, desk.vault.url)["single"]
        first = there.apply_async(kwargs={"key": desk.key, "job": "there"}, queue="nobody")
        assert Counter(desk).send("single", "here", options={"queue": "nobody"}).id == first.id
