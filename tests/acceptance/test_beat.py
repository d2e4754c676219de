"""Several `celery beat`: one sends, and each due time is sent once, whatever becomes of the leader and the store."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, NamedTuple

import pytest

from celery_locks.beat.lead import LOOK
from tests.acceptance.beats import KEY, Beat, Scene, consecutive, each_second_once
from tests.acceptance.journal import judge
from tests.acceptance.office import only_redis
from tests.servers.missing import require
from tests.servers.programs import REDIS
from tests.servers.redis import RedisServer
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.conftest import System
    from tests.acceptance.nodes import Worker
    from tests.servers.process import PrivateServer
    from tests.servers.proxy import Direction, Proxy


class Keeping(NamedTuple):
    """A store that forgets nothing when it is killed."""

    server: PrivateServer
    url: str


@pytest.fixture(params=["redis", "etcd", "postgres"])
def keeping(request: pytest.FixtureRequest) -> Iterator[Keeping]:
    """One of each kind in turn. A Redis writes down whatever it has answered when it is told to."""
    if request.param == "redis":
        require(REDIS)
        with RedisServer(appendonly="yes", appendfsync="always") as server:
            yield Keeping(server, server.url)
        return
    # Before the database, which is dropped at the end.
    server = request.getfixturevalue(f"{request.param}_server")
    url = request.getfixturevalue(f"{request.param}_url")
    yield Keeping(server, f"sql+{url}" if request.param == "postgres" else url)


def test_the_leader_is_killed_again_and_again(hub: RedisServer, vault: RedisServer) -> None:
    """Three beats, an entry of a second, for half a minute: it is killed thrice. Then it is paused past its ttl."""
    scene = Scene(hub, vault.url, "killed-again-and-again")
    with contextlib.closing(scene):
        for beat in scene.beats:
            beat.start()
        for _ in range(3):
            scene.wait_for_more(5)
            scene.kill(scene.leader())
        scene.wait_for_more(30 - len(scene.sent()))
        each_second_once(scene)
        paused = scene.leader()
        scene.wait_for_more(3)
        paused.pause()
        scene.wait_for_more(4)
        assert scene.leader() is not paused
        paused.resume()
        wait_until(
            lambda: f"lost the lead '{KEY}'" in paused.log(), "the paused beat to find that it leads no more", 30
        )
        scene.wait_for_more(3)
        assert scene.leader() is not paused
        each_second_once(scene)


def test_a_leader_that_ends_well_and_a_store_that_restarts(hub: RedisServer, keeping: Keeping) -> None:
    """Three beats: SIGTERM hands the lead on; while the store is down nothing is sent, and then all that was due."""
    scene = Scene(hub, keeping.url, f"ends-well-{keeping.server.port}")
    with contextlib.closing(scene):
        for beat in scene.beats:
            beat.start()
        first = scene.leader()
        scene.wait_for_more(2)
        os.kill(first.pid, signal.SIGTERM)
        wait_until(lambda: not first.is_alive(), "the leader to end", 30)
        assert f"gave back the lead '{KEY}'" in first.log()
        second = scene.leader()
        assert second is not first
        first.start()
        scene.wait_for_more(2)
        leader = scene.leader()
        keeping.server.kill()
        wait_until(
            lambda: "nothing is sent until the store answers" in leader.log(), "the leader to miss its store", 30
        )
        keeping.server.start()
        scene.wait_for_more(3)
        scene.kill(scene.leader())
        scene.wait_for_more(2)
        each_second_once(scene)


def test_a_store_that_forgets_all_when_it_restarts(hub: RedisServer) -> None:
    """What was sent a moment before may be sent again or left out; each other due time is sent once."""
    require(REDIS)
    with RedisServer() as forgetful:
        scene = Scene(hub, forgetful.url, "forgets")
        with contextlib.closing(scene):
            for beat in scene.beats:
                beat.start()
            scene.leader()
            scene.wait_for_more(5)
            last = scene.sent()[-1].due
            forgetful.kill()
            forgetful.start()
            scene.leader()
            # Who stood by looks every second, a second more is what an entry is due at, and a machine may be busy.
            doubt, second = timedelta(seconds=LOOK + 2), timedelta(seconds=1)
            forgotten = last - doubt, datetime.now(timezone.utc) + doubt
            wait_until(lambda: scene.sent()[-1].due > forgotten[1] + 2 * second, "due times after that", 60)
            due = [each.due for each in scene.sent()]
            before = [each for each in due if each <= forgotten[0]]
            after = [each for each in due if each >= forgotten[1]]
            for each in before, after:
                assert each == [each[0] + number * second for number in range(len(each))]
            assert before[-1] == forgotten[0]
            assert after[0] < forgotten[1] + second


@only_redis
def test_an_entry_never_overlaps_itself(system: System, hire: Callable[..., Worker]) -> None:
    """Runs that take longer than their interval: one is skipped while another runs, or waits, as the entry says."""
    entry = {"task": "report", "schedule": 0.5, "args": [0.8]}
    waits = {**entry, "lock": {"on_contention": "requeue"}}
    conf = {"beat_schedule": {"skips": {**entry, "lock": True}, "waits": waits}}
    scene = Scene(system.hub, system.vault.url, "overlaps", **conf)
    del scene.beats[1:]
    with contextlib.closing(scene):
        worker = hire("clerk", scene.conf, queues=["overlaps"], module="tests.acceptance.scheduled", concurrency=4)
        worker.start()
        [beat] = scene.beats
        beat.start()
        system.journal.wait_for_runs("beat:skips", 3)
        beat.stop()
        sent = {
            name: set(re.findall(rf"sending {name} .*, due at (\S+ \S+)", beat.log())) for name in ("skips", "waits")
        }
        ran = {name: system.journal.wait_for_runs(f"beat:{name}", 1) for name in ("skips", "waits")}
        ran["waits"] = system.journal.wait_for_runs("beat:waits", len(sent["waits"]), 60)
        for runs in ran.values():
            judge(runs)
        assert {run.job.replace("T", " ") for run in ran["waits"]} == sent["waits"]
        assert 3 <= len(ran["skips"]) < len(sent["skips"])


def test_a_broker_that_restarts(vault: RedisServer) -> None:
    """It costs no due time: what could not be sent is tried again, and what came due meanwhile is sent after it."""
    require(REDIS)
    with RedisServer(appendonly="yes", appendfsync="always") as broker:
        scene = Scene(broker, vault.url, "broker-restarts")
        del scene.beats[1:]
        with contextlib.closing(scene):
            [beat] = scene.beats
            beat.start()
            scene.wait_for_more(2)
            killed = datetime.now(timezone.utc)
            broker.kill()
            wait_until(lambda: "could not be sent and is tried again" in beat.log(), "the beat to miss its broker", 30)
            back = datetime.now(timezone.utc)
            broker.start()
            scene.wait_for_more(3)
            each_second_once(scene)
            assert [each for each in scene.sent() if killed - timedelta(seconds=1) < each.due < back]


@pytest.mark.parametrize("held", ["requests", "answers"])
def test_a_leader_that_is_killed_while_it_publishes(
    hub: RedisServer, vault: RedisServer, proxy: Callable[[str], Proxy], held: Direction
) -> None:
    """Before the broker has the job, or after: the next leader sends that job, under its id, and nothing else again."""
    way = proxy(hub.url)
    scene = Scene(hub, vault.url, f"publishes-{held}", broker_url=way.url)
    first, second = scene.beats = [scene.beats[0], Beat({**scene.conf, "broker_url": hub.url}, scene.module)]
    with contextlib.closing(scene):
        first.start()
        scene.wait_for_more(2)
        way.hold(held)
        before = len(scene.sent())
        wait_until(
            lambda: b"LPUSH" in way.waiting("requests") or len(scene.sent()) > before,
            "the leader to publish, or the broker to have a job that the leader was not told of",
        )
        first.kill()
        way.cut()
        second.start()
        assert scene.leader() is second
        scene.wait_for_more(3)
        sent = scene.sent()
        twice = [sent[before]] if held == "answers" else []
        assert sent[before + 1 : before + 1 + len(twice)] == twice
        del sent[before + 1 : before + 1 + len(twice)]
        consecutive(sent)
