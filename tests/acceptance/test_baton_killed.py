"""Workflows whose worker is killed at each boundary of a chord and of an errback: who has their keys, and what comes.

Each scene has a key, a rival that wants it, and a task that stands still at a boundary. They wait for each other at a
gate before it. When all scenes of a test have come to theirs, the worker of all of them is killed as a whole. RabbitMQ
carries the messages, for it loses none.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from celery import chain, group

from celery_locks import baton
from tests.acceptance.office import PATIENCE, Office, only_rabbitmq
from tests.acceptance.rivals import QUEUE, Rival, members, sending, step
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.acceptance.journal import Run
    from tests.acceptance.nodes import Worker

pytestmark = [only_rabbitmq, pytest.mark.usefixtures("crew")]

#: Longer than a busy machine takes to bring all scenes of a test from the gate to their boundaries.
TTL = 5.0
#: Where the worker is that is killed; and what nobody takes before that.
VICTIM, LATER = "victim", "later"


class Desk(NamedTuple):
    """What the tasks of a scene are made with."""

    office: Office
    door: Path
    gate: Path
    queues: Mapping[str, str]

    def step(self, job: str, task: str = "step", *, queue: str = QUEUE, **arguments: Any) -> Any:
        return step(self.office, job, task, queue=self.queues.get(queue, queue), **arguments)

    def stops(self, job: str, at: str, *, late: bool = True, **arguments: Any) -> Any:
        """A task that stands still at a boundary; `late`: its message comes again."""
        told = {"at": at, "gate": str(self.gate), **arguments}
        return self.step(job, "step_stopped_late" if late else "step_stopped", queue=VICTIM, **told)

    def undo(self, task: str = "undo", *, queue: str = VICTIM, **arguments: Any) -> Any:
        undo = self.office.app.signature(task, kwargs={"key": self.office.key, "job": "u", **arguments})
        return undo.set(queue=self.queues[queue])

    def undo_stops(self, at: str) -> Any:
        """An errback that stands still."""
        return self.undo("undo_stopped", at=at, gate=str(self.gate))

    def chord(self, *header: Any, body: Any = None) -> Any:
        return self.step("a") | group(*header) | (body or self.step("d"))

    def fails(self, errback: Any, job: Any) -> Any:
        return chain(job, self.step("never")).on_error(errback)


class Scene(NamedTuple):
    """A workflow that a worker is killed in: what has run by then, and what runs when there is a worker again."""

    canvas: Callable[[Desk], Any]
    before: str
    after: str
    #: Nobody else has the key meanwhile: its message is on its way, or others go on. Else it is free within a ttl.
    is_kept: bool = False
    travel: float | None = None


def between_two(desk: Desk) -> Any:
    return desk.chord(desk.stops("b", "count"), desk.step("c", queue=LATER))


def body_on_its_way(desk: Desk) -> Any:
    return desk.chord(desk.step("b"), desk.stops("c", "counted", late=False), body=desk.step("d", queue=LATER))


def errback_on_its_way(desk: Desk) -> Any:
    return desk.fails(desk.undo(queue=LATER), desk.stops("a", "errbacks sent", late=False, fails=True))


def chords_errback_on_its_way(desk: Desk) -> Any:
    body = desk.step("d").on_error(desk.undo(queue=LATER))
    return desk.chord(desk.step("b"), desk.stops("c", "counted", late=False, fails=True), body=body)


def beside_another(desk: Desk) -> Any:
    return desk.chord(desk.stops("b", "inside"), desk.step("c", door=str(desk.door)))


CHORD = {
    "between two of a group": Scene(between_two, "ab", "bcd"),
    "between two of a group, on their way": Scene(between_two, "ab", "bcd", is_kept=True, travel=60),
    "in one of a group, beside another": Scene(
        lambda desk: desk.chord(desk.stops("b", "inside"), desk.step("c", door=str(desk.door))),
        "abc",
        "bd",
        is_kept=True,
    ),
    "between the group and the body": Scene(
        lambda desk: desk.chord(desk.step("b"), desk.stops("c", "count")), "abc", "cd"
    ),
    "the body is lost for long": Scene(body_on_its_way, "abc", "d"),
    "the body is on its way": Scene(body_on_its_way, "abc", "d", is_kept=True, travel=60),
    "in the body": Scene(
        lambda desk: desk.chord(desk.step("b"), desk.step("c"), body=desk.stops("d", "inside")), "abcd", "d"
    ),
    "at the end of the body": Scene(
        lambda desk: desk.chord(desk.step("b"), desk.step("c"), body=desk.stops("d", "release")), "abcd", "d"
    ),
}
ERRBACK = {
    "between the failure and its errback": Scene(
        lambda desk: desk.fails(desk.undo(), desk.stops("a", "errbacks", fails=True)), "a", "au"
    ),
    "the errback is lost for long": Scene(errback_on_its_way, "a", "u"),
    "the errback is on its way": Scene(errback_on_its_way, "a", "u", is_kept=True, travel=60),
    "in the errback": Scene(
        lambda desk: desk.fails(desk.undo_stops("inside"), desk.step("a", "step_fails")), "au", "u"
    ),
    "at the end of the errback": Scene(
        lambda desk: desk.fails(desk.undo_stops("release"), desk.step("a", "step_fails")), "au", "u"
    ),
    "in an errback that Celery calls": Scene(
        lambda desk: desk.fails(desk.undo("undo_called_stopped"), desk.step("a", "step_fails_late", queue=VICTIM)),
        "au",
        "au",
    ),
    "the errback of a chord is on its way": Scene(chords_errback_on_its_way, "abc", "u", is_kept=True, travel=60),
}


class Stage(NamedTuple):
    """A scene that is played."""

    scene: Scene
    desk: Desk
    rival: Rival

    def has_come(self) -> bool:
        """Whether it has come to the gate, or stands still already."""
        return sorted(run.job for run in members(self.desk.office)) == sorted(self.scene.before)

    def is_still(self) -> bool:
        """Whether it has come to its boundary."""
        office = self.desk.office
        return self.has_come() and bool(office.journal.events("still", office.key))

    def is_free_within_a_ttl(self) -> None:
        """Nobody renews the lease that is there, and then the rival has the key."""
        if not self.scene.is_kept:
            self.rival.has_it_again()

    def ends(self) -> None:
        """What is delivered again, or was on its way, has run, and the key is free."""
        office, last = self.desk.office, self.scene.after[-1]
        times = (self.scene.before + self.scene.after).count(last)
        office.journal.wait_for_start(office.key, last, times=times, timeout=PATIENCE)
        self.rival.has_it_again()

    def faults(self, killed_at: float) -> list[str]:
        """What is wrong with who had the key, and when."""
        ours = members(self.desk.office)
        before, after = ([run for run in ours if (run.start < killed_at) is wanted] for wanted in (True, False))
        found = [
            f"{when} the kill ran {jobs}, not {wanted}"
            for when, runs, wanted in (("before", before, self.scene.before), ("after", after, self.scene.after))
            if (jobs := "".join(sorted(run.job for run in runs))) != wanted
        ]
        spans = [ours] if self.scene.is_kept else [before, after]
        fences = [{run.fence for run in span} for span in spans]
        if any(len(each) != 1 for each in fences) or fences != sorted(fences, key=max):
            found.append(f"its fences were {fences}")
        return found + [
            f"{run.job} came in between" for span in spans if span for run in self._between(span, killed_at)
        ]

    def _between(self, span: list[Run], killed_at: float) -> list[Run]:
        # Until the kill it was the workflow's also where no task ran.
        begin, end = min(run.start for run in span), max(killed_at, *(run.end or killed_at for run in span))
        return [run for run in self.rival.runs() if run.start < end and (run.end or end) > begin]


@pytest.mark.parametrize("scenes", [CHORD, ERRBACK], ids=["chord", "errback"])
def test_a_worker_is_killed_at_each_boundary(
    desk: Office, hire: Callable[..., Worker], tmp_path: Path, scenes: Mapping[str, Scene]
) -> None:
    """The key is free within one ttl, or kept for those that go on; nobody has it twice, and each workflow ends."""
    sending(desk, desk.vault.url)
    door, gate = tmp_path / "door", tmp_path / "gate"
    queues = {name: f"{desk.key}-{name}" for name in (VICTIM, LATER)}
    hired = {"module": "tests.acceptance.workflows", "concurrency": len(scenes)}
    victim, heir = hire("victim", queues=[queues[VICTIM]], **hired), hire("heir", queues=queues.values(), **hired)
    victim.start()
    with contextlib.ExitStack() as stack:
        stages = {}
        for name, scene in scenes.items():
            office = desk.beside(name)
            stages[name] = Stage(scene, Desk(office, door, gate, queues), stack.enter_context(Rival(office, rest=0.1)))
        for stage in stages.values():
            key = stage.desk.office.key
            # The tasks of a group stand in no line: if they have lost the key they ask often.
            baton(stage.scene.canvas(stage.desk), key, ttl=TTL, travel=stage.scene.travel, countdown=0.2).delay()
        for name, stage in stages.items():
            wait_until(stage.has_come, f"the task {name} to come to the gate", PATIENCE)
        gate.touch()
        for name, stage in stages.items():
            wait_until(stage.is_still, f"the task {name} to stand still", PATIENCE)
        victim.kill()
        killed_at = time.monotonic()
        left = {name: desk.locks.holder(stage.desk.office.key) for name, stage in stages.items()}
        for stage in stages.values():
            stage.is_free_within_a_ttl()
        heir.start()
        door.touch()
        for stage in stages.values():
            stage.ends()
    found = {name: stage.faults(killed_at) for name, stage in stages.items()}
    assert {name: said for name, said in found.items() if said} == {}
    assert not [holder for name, holder in left.items() if holder and holder.remaining > (scenes[name].travel or TTL)]
