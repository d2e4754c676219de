"""Take a free key and give it back on five servers: beside one server, with a network in between, and with one hung."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import redis

from benchmarks.report import AtMost, Figure, Part
from benchmarks.rounds import Rounds
from benchmarks.server import own_server
from benchmarks.uncontended import the_store
from celery_locks import Locks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.uncontended import Subject

NODES = 5
#: Each way: one millisecond there and back.
DELAY_MS = 0.5
ONE, FIVE, HUNG = "one Redis", "five nodes", "five nodes, one hung"
FAR_ONE, FAR_FIVE, FAR_HUNG = (f"{name}, 1 ms away" for name in (ONE, FIVE, HUNG))


def run(url: str, *, quick: bool) -> Part:
    """The one Redis is that of all benchmarks; its stores and those of five nodes take turns in one process."""
    with ExitStack() as stack:
        ports = [_port(stack.enter_context(_server())) for _ in range(NODES + 1)]
        subjects = _subjects(stack, _port(url), ports)
        stack.enter_context(_hung(ports[NODES]))
        near = {name: subjects[name] for name in (ONE, FIVE, HUNG)}
        far = {name: subjects[name] for name in (FAR_ONE, FAR_FIVE, FAR_HUNG)}
        times = Rounds.timed(near, rounds=5 if quick else 300, calls=10 if quick else 50)
        later = Rounds.timed(far, rounds=3 if quick else 100, calls=3 if quick else 20)
    return Part("redlock", "acquire + release of a free key", _figures(times, later))


def _figures(near: Rounds, far: Rounds) -> list[Figure]:
    return [
        Figure.of(ONE, near.micros(ONE), "µs"),
        Figure.of(FIVE, near.micros(FIVE), "µs"),
        Figure.of(f"{FIVE} / {ONE}", near.ratio(FIVE, ONE), target=AtMost(4)),
        Figure.of(f"{HUNG} / {FIVE}", near.ratio(HUNG, FIVE), target=AtMost(1.1)),
        Figure.of(FAR_ONE, far.micros(FAR_ONE), "µs"),
        Figure.of(f"{FAR_FIVE} / {FAR_ONE}", far.ratio(FAR_FIVE, FAR_ONE), target=AtMost(1.6)),
        Figure.of(f"{FAR_HUNG} / {FAR_FIVE}", far.ratio(FAR_HUNG, FAR_FIVE), target=AtMost(1.1)),
    ]


def _subjects(stack: ExitStack, one: int, ports: Sequence[int]) -> dict[str, Subject]:
    """The last of the ports is that of the node which will hang."""
    far_one, *far = stack.enter_context(_relays([one, *ports]))
    urls = {
        ONE: f"redis://127.0.0.1:{one}",
        FIVE: _redlock(ports[:NODES]),
        HUNG: _redlock(ports[1:]),
        FAR_ONE: f"redis://127.0.0.1:{far_one}",
        FAR_FIVE: _redlock(far[:NODES]),
        FAR_HUNG: _redlock(far[1:]),
    }
    return {name: _subject(stack, url) for name, url in urls.items()}


def _subject(stack: ExitStack, url: str) -> Subject:
    locks = Locks(url)
    stack.callback(locks.close)
    subject = the_store(locks)
    # Connected, and every script known, before any node hangs.
    subject()
    return subject


def _redlock(ports: Sequence[int]) -> str:
    return "redlock://" + ",".join(f"127.0.0.1:{port}" for port in ports)


@contextmanager
def _server() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory, own_server(Path(directory)) as url:
        yield url


def _port(url: str) -> int:
    return urlsplit(url).port or 0


@contextmanager
def _hung(port: int) -> Iterator[None]:
    """Stop the server: its connections stay open, and nothing is answered."""
    with redis.Redis(port=port) as client:
        pid = int(client.info("server")["process_id"])
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def _relays(ports: Sequence[int]) -> Iterator[list[int]]:
    """A delay in front of each port."""
    command = [sys.executable, "-m", "benchmarks.delay", str(DELAY_MS), *map(str, ports)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as relays:  # noqa: S603 - our own
        assert relays.stdout  # noqa: S101 - it is a pipe
        try:
            yield [int(port) for port in relays.stdout.readline().split()]
        finally:
            relays.terminate()
