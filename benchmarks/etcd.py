"""Take a free key in etcd and give it back: four requests, and what is paid beyond them."""

from __future__ import annotations

import http.client
import json
import shutil
import tempfile
import time
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report import AtMost, Figure, Part
from benchmarks.rounds import Rounds
from benchmarks.server import PATIENCE, free_port, started
from benchmarks.uncontended import reused, the_store
from celery_locks import Locks
from celery_locks.lease import new_owner
from celery_locks.stores.etcd import messages
from celery_locks.stores.etcd.leases import new_number
from celery_locks.stores.etcd.naming import Names

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    Subject = Callable[[], object]
    Posts = Callable[[str, dict[str, Any]], object]

TTL = 30
TITLE = "acquire + release of a free key in etcd"
BARE, THREE = "bare, four requests", "bare, three requests"
STORE, LOCK = "the store alone", "Lock"
GATEWAY, GATEWAY_LOCK = "etcd3gw, four requests", "etcd3gw Lock"


def run(_: str, *, quick: bool) -> Part:
    """Every subject has a connection and a key of its own, on one server."""
    program = shutil.which("etcd")
    if program is None:
        return Part("etcd", TITLE, [], ["etcd is not installed"])
    rounds, each = (3, 5) if quick else (100, 10)
    # And those of the round that is not counted.
    calls = (rounds + 1) * each
    with tempfile.TemporaryDirectory(prefix="benchmarks-etcd-") as directory, _server(program, Path(directory)) as port:
        locks = Locks(f"etcd://127.0.0.1:{port}")
        post = _posting(port)
        subjects = {
            BARE: bare(post, calls, whole=True),
            THREE: bare(post, calls, whole=False),
            STORE: the_store(locks),
            LOCK: reused(locks.lock("reused", ttl=TTL)),
            **_peers(port, calls),
        }
        times = Rounds.timed(subjects, rounds=rounds, calls=each)
        locks.close()
    absent = [] if GATEWAY in subjects else ["etcd3gw is not installed and was left out"]
    return Part("etcd", TITLE, list(_figures(times)), absent)


def _figures(times: Rounds) -> Iterator[Figure]:
    yield Figure.of(BARE, times.micros(BARE), "µs")
    yield Figure.of("Lock / bare", times.ratio(LOCK, BARE), target=AtMost(1.2))
    yield Figure.of("the store alone / bare", times.ratio(STORE, BARE))
    yield Figure.of("three requests / four", times.ratio(THREE, BARE))
    for peer in (GATEWAY, GATEWAY_LOCK):
        if peer in times.seconds:
            yield Figure.of(f"{peer} / bare", times.ratio(peer, BARE))


def bare(post: Posts, calls: int, *, whole: bool) -> Subject:
    """A lease, a key, and both given back: the deletion of the key can be left to the end of its lease.

    What is said is made before the clock runs: the yardstick is the client's calls alone.
    """
    owners, marks = _owners(), new_number()
    post(messages.GRANT, messages.grant(marks, 3600))
    said = iter([_said(next(owners), marks, whole=whole) for _ in range(calls)])

    def both() -> None:
        for path, body in next(said):
            post(path, body)

    return both


def _said(owner: str, marks: int, *, whole: bool) -> list[tuple[str, dict[str, Any]]]:
    names, lease = Names.of("bare:", "key", owner), new_number()
    return [
        (messages.GRANT, messages.grant(lease, TTL)),
        (messages.TXN, messages.take(names, lease)),
        *([(messages.TXN, messages.give_back(names, marks))] if whole else []),
        (messages.REVOKE, messages.one(lease)),
    ]


def _owners() -> Iterator[str]:
    name = new_owner()
    return (f"{name}{number}" for number in count())


def _posting(port: int) -> Posts:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def post(path: str, body: dict[str, Any]) -> object:
        connection.request("POST", path, json.dumps(body))
        return json.loads(connection.getresponse().read())

    return post


def _peers(port: int, calls: int) -> dict[str, Subject]:
    if find_spec("etcd3gw") is None:
        return {}
    client = import_module("etcd3gw").Etcd3Client("127.0.0.1", port, timeout=PATIENCE)
    root = f"http://127.0.0.1:{port}"
    return {
        GATEWAY: bare(lambda path, body: client.post(f"{root}{path}", json=body), calls, whole=True),
        GATEWAY_LOCK: reused(client.lock("peer", ttl=TTL)),
    }


@contextmanager
def _server(program: str, directory: Path) -> Iterator[int]:
    """An etcd that writes to its disk as it does by default; stopped at the end."""
    port, peers = free_port(), free_port()
    flags = {
        "data-dir": directory / "data",
        "listen-client-urls": f"http://127.0.0.1:{port}",
        "advertise-client-urls": f"http://127.0.0.1:{port}",
        "listen-peer-urls": f"http://127.0.0.1:{peers}",
        "initial-advertise-peer-urls": f"http://127.0.0.1:{peers}",
        "initial-cluster": f"default=http://127.0.0.1:{peers}",
    }
    command = [program, *(f"--{name}={value}" for name, value in flags.items())]
    with started(command, directory / "server.log") as process:
        _wait_until_it_answers(port, process, directory / "server.log")
        yield port


def _wait_until_it_answers(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline, connection = time.monotonic() + PATIENCE, http.client.HTTPConnection("127.0.0.1", port, timeout=1)
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", "/health")
            if b"true" in connection.getresponse().read():
                connection.close()
                return
        connection.close()
        time.sleep(0.02)
    raise RuntimeError(f"etcd did not start: {log.read_text(errors='replace')}")
