"""What an operator sees of a worker: its events, and its answers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from celery.bin.base import CLIContext
from celery.bin.control import inspect

from celery_locks.cli.remote import offer
from tests.acceptance.nodes import QUIET
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.commands import run
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from celery import Celery

    from tests.acceptance.conftest import System
    from tests.acceptance.nodes import Worker

pytestmark = only_redis  # events and answers are Celery's, whatever carries them


def test_an_operator_sees_what_a_worker_does(desk: Office, hire: Callable[..., Worker]) -> None:
    """Its events, as `celery events` gets them; and asked, it tells who holds a key and who waits in it."""
    worker = hire("worker", queues=["watched"], arguments=(*QUIET, "-E"))
    with events(desk.app) as seen:
        worker.start()
        # What was sent before we listened nobody hears.
        wait_until(lambda: "worker-heartbeat" in kinds(seen), "the worker to be heard", PATIENCE)
        with desk.taken() as lease:
            job = desk.send("line", "waits", queue="watched")
            desk.wait_for_line(1)
            [waits] = asked(desk.app, worker)["waits"]
            assert (waits["key"], waits["task"], waits["stands"]) == (desk.key, "line", "line")
            assert waits["task_id"] == job.id
        assert job.get(timeout=PATIENCE) == "waits"
        wait_until(lambda: "lock-released" in kinds(seen), "the release to be heard", PATIENCE)
        heard = [each for each in kinds(seen) if each.startswith("lock-")]
        # The wake is told of from a thread, which a busy machine may let wait.
        assert [each for each in heard if each != "lock-woken"] == [
            "lock-contended", "lock-requeued", "lock-acquired", "lock-released"
        ]  # fmt: skip
        wait_until(lambda: "lock-woken" in kinds(seen), "the wake to be heard", PATIENCE)
        told = {event["type"]: event for event in seen if event["type"].startswith("lock-")}
    assert {event["uuid"] for event in told.values()} == {job.id}
    assert {event["name"] for event in told.values()} == {"line"}
    assert {event["hostname"] for event in told.values()} == {worker.name}
    assert told["lock-contended"]["holder"] == lease.owner
    assert told["lock-contended"]["attempts"] == 0
    assert [told[f"lock-{name}"]["place"] for name in ("contended", "requeued")] == [1, 1]
    assert [told[f"lock-{name}"]["attempts"] for name in ("requeued", "woken", "acquired")] == [1, 1, 1]
    assert told["lock-acquired"]["process"] in worker.children()

    assert asked(desk.app, worker)["holds"] == []
    desk.send("minute", "holds", queue="watched", seconds=60)
    began = desk.journal.wait_for_start(desk.key, "holds")
    [holds] = asked(desk.app, worker)["holds"]
    assert (holds["keys"], holds["fence"], holds["pid"]) == ([desk.key], began.fence, began.pid)
    assert holds["remaining"] > 0

    # Celery loads ours after its own; another test may have been first.
    offer()
    context = CLIContext(desk.app, no_color=True, workdir=None)
    ended = run(inspect, "locks", "-d", worker.name, "-t", PATIENCE, "--json", obj=context)
    assert (ended.code, ended.err) == (0, "")
    [told_again] = json.loads(ended.out)[worker.name]["holds"]
    assert told_again["owner"] == holds["owner"]


def test_celerys_own_monitor_shows_locks_and_the_right_states(
    desk: Office, hire: Callable[..., Worker], system: System, tmp_path: Path
) -> None:
    """`celery events --dump` has a line for each, with its key; a job that waited has succeeded in the end.

    One that was skipped is a revoked one to it, and not one that runs for ever.
    """
    worker = hire("worker", queues=["dumped"], arguments=(*QUIET, "-E"))
    with dumped(system, tmp_path) as lines, events(desk.app) as seen:
        worker.start()
        wait_until(lambda: any(worker.name in line for line in lines()), "the worker to be heard", PATIENCE)
        with desk.taken():
            waits = desk.send("line", "waits", queue="dumped")
            desk.wait_for_line(1)
            skipped = desk.send("skip", "skipped", queue="dumped")
            desk.wait_for_state(skipped, "REVOKED")
        assert waits.get(timeout=PATIENCE) == "waits"
        wait_until(lambda: {"lock released", "task revoked"} <= _types(lines(), desk.key, waits.id, skipped.id),
                   "both ends to be shown", PATIENCE)  # fmt: skip
        [taken] = [line for line in lines() if " lock acquired: " in line and f"uuid={waits.id}" in line]
        assert f"key={desk.key}" in taken
        assert worker.name in taken
        # A result is known before the main process has sent that it is.
        ends = {"task-revoked", "task-succeeded"}
        wait_until(lambda: ends <= set(kinds(seen)), "the ends of both to be heard", PATIENCE)
    state = desk.app.events.State()
    for event in sorted(seen, key=lambda event: event["timestamp"]):
        state.event(event)
    assert (state.tasks[waits.id].state, state.tasks[skipped.id].state) == ("SUCCESS", "REVOKED")


def _types(lines: list[str], *names: str) -> set[str]:
    """The kinds of events that lines with these names are of."""
    found = [re.search(r"\] ((?:lock|task) \w+)", line) for line in lines if any(name in line for name in names)]
    return {each[1] for each in found if each}


@contextlib.contextmanager
def dumped(system: System, folder: Path) -> Iterator[Callable[[], list[str]]]:
    """What `celery events --dump` has printed so far."""
    out = folder / "events"
    with out.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-b", system.conf["broker_url"], "events", "--dump"],
            stdout=file, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    try:
        yield lambda: out.read_text(encoding="utf-8").splitlines()
    finally:
        process.kill()
        process.wait()


def asked(app: Celery, worker: Worker) -> dict[str, Any]:
    """What this worker answers to `celery inspect locks`."""
    answer = app.control.inspect(destination=[worker.name], timeout=PATIENCE, limit=1)._request("locks")
    found: dict[str, Any] = answer[worker.name]
    return found


def kinds(seen: list[dict[str, Any]]) -> list[str]:
    """What has been heard, in the order in which it happened."""
    return [event["type"] for event in sorted(seen, key=lambda event: event["timestamp"])]


@contextlib.contextmanager
def events(app: Celery) -> Iterator[list[dict[str, Any]]]:
    """All events that are heard meanwhile."""
    seen: list[dict[str, Any]] = []
    with app.connection_for_read() as connection:
        receiver = app.events.Receiver(connection, handlers={"*": seen.append})

        def listen() -> None:
            with contextlib.suppress(StopIteration):
                for _ in receiver.itercapture(limit=None, timeout=0.2, wakeup=False):
                    pass

        def listen_on() -> None:
            while not receiver.should_stop:
                with contextlib.suppress(TimeoutError):
                    listen()

        thread = threading.Thread(target=listen_on)
        thread.start()
        try:
            yield seen
        finally:
            receiver.should_stop = True
            thread.join()
