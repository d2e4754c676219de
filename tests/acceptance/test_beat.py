"""Several `celery beat`: one sends, and each due time is sent once, whatever becomes of the leader and the store."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.beats import KEY, Beat, Scene
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


@pytest.fixture
def keeping() -> Iterator[RedisServer]:
    """A Redis that forgets nothing when it is killed."""
    require(REDIS)
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        yield server


def each_second_once(scene: Scene) -> None:
    """All due times from the first to the last, in order, a second apart, each with one message and its own id."""
    sent = scene.sent()
    assert [each.due for each in sent] == [sent[0].due + timedelta(seconds=number) for number in range(len(sent))]
    assert len({each.task_id for each in sent}) == len(sent)


def killed(scene: Scene, beat: Beat) -> None:
    """Replace one without a word."""
    scene.beats[scene.beats.index(beat)] = another = Beat(scene.conf)
    beat.kill()
    beat.close()
    another.start()


def test_the_leader_is_killed_again_and_again(hub: RedisServer, vault: RedisServer) -> None:
    """Three beats, an entry of a second, half a minute: it is killed thrice, and once paused past its ttl."""
    scene = Scene(hub, vault, "killed-again-and-again")
    with contextlib.closing(scene):
        for beat in scene.beats:
            beat.start()
        for _ in range(3):
            scene.wait_for_more(5)
            killed(scene, scene.leader())
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


def test_a_leader_that_ends_well_and_a_store_that_restarts(hub: RedisServer, keeping: RedisServer) -> None:
    """SIGTERM hands the lead on; while the store is down nothing is sent, and then all that was due, each once."""
    scene = Scene(hub, keeping, "ends-well")
    scene.beats.pop()
    with contextlib.closing(scene):
        for beat in scene.beats:
            beat.start()
        first = scene.leader()
        scene.wait_for_more(2)
        os.kill(first.pid, signal.SIGTERM)
        wait_until(lambda: not first.is_alive(), "the leader to end", 30)
        assert f"gave back the lead '{KEY}'" in first.log()
        [second] = [each for each in scene.beats if each is not first]
        assert scene.leader() is second
        scene.wait_for_more(2)
        keeping.kill()
        wait_until(
            lambda: "nothing is sent until the store answers" in second.log(), "the leader to miss its store", 30
        )
        keeping.start()
        scene.wait_for_more(4)
        each_second_once(scene)


@only_redis
def test_an_entry_never_overlaps_itself(system: System, hire: Callable[..., Worker]) -> None:
    """Runs that take longer than their interval: one is skipped while another runs, or waits, as the entry says."""
    entry = {"task": "report", "schedule": 0.5, "args": [0.8]}
    waits = {**entry, "lock": {"on_contention": "requeue"}}
    conf = {"beat_schedule": {"skips": {**entry, "lock": True}, "waits": waits}}
    scene = Scene(system.hub, system.vault, "overlaps", **conf)
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
