"""Take a free key in ZooKeeper and give it back: two transactions, and what is paid beyond them."""

from __future__ import annotations

import itertools
import shutil
import socket
import tempfile
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.report import AtMost, Figure, Part
from benchmarks.rounds import Rounds
from benchmarks.server import PATIENCE, free_port, started
from celery_locks import Locks
from celery_locks.lease import Claim, new_owner

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from kazoo.client import KazooClient

    Subject = Callable[[], object]

TTL = 30
JAR = Path("/usr/share/java/zookeeper.jar")
WHAT = "acquire + release of a free key in ZooKeeper"
RECIPE, TWO, PEER = "create, get_children, delete of kazoo", "two bare transactions of kazoo", "kazoo Lock"
STORE, LOCK = "the store alone", "Lock"


def run(_url: str, *, quick: bool) -> Part:
    """Every subject has a key of its own, on one server that does not wait for its disk."""
    if not shutil.which("java") or not JAR.exists():
        return Part("zookeeper", WHAT, [], ["ZooKeeper is not installed (libzookeeper-java): left out"])
    with _own_server() as address, _bare(address) as client, closing(Locks(f"zookeeper://{address}/ours")) as locks:
        subjects = {
            RECIPE: _recipe(client),
            TWO: _two_transactions(client),
            PEER: _reused(client.Lock("/peer", "owner")),
            STORE: _store(locks),
            LOCK: _reused(locks.lock("lock", ttl=TTL)),
        }
        times = Rounds.timed(subjects, rounds=5 if quick else 100, calls=5 if quick else 25)
    return Part("zookeeper", WHAT, _figures(times))


def _figures(times: Rounds) -> list[Figure]:
    return [
        Figure.of(TWO, times.micros(TWO), "µs"),
        Figure.of(f"Lock / {RECIPE}", times.ratio(LOCK, RECIPE), target=AtMost(1.2)),
        Figure.of(f"the store alone / {TWO}", times.ratio(STORE, TWO), target=AtMost(1.2)),
        Figure.of(f"Lock / {TWO}", times.ratio(LOCK, TWO)),
        Figure.of("Lock / kazoo Lock", times.ratio(LOCK, PEER)),
    ]


def _recipe(client: KazooClient) -> Subject:
    """What the recipe of a sequential node asks at the least, its folder being there."""
    client.ensure_path("/recipe")

    def both() -> None:
        node = client.create("/recipe/lock-", b"owner", ephemeral=True, sequence=True)
        client.get_children("/recipe")
        client.delete(node)

    return both


def _two_transactions(client: KazooClient) -> Subject:
    """What our store asks, without asking who has it or remembering anything."""
    client.ensure_path("/bare")

    def both() -> None:
        take = client.transaction()
        take.create("/bare/lock", ephemeral=True)
        take.create("/bare/owner", ephemeral=True)
        take.set_data("/bare/lock", b"owner")
        take.commit()
        give_back = client.transaction()
        give_back.delete("/bare/owner")
        give_back.delete("/bare/lock")
        give_back.commit()

    return both


def _store(locks: Locks) -> Subject:
    store, name, count = locks.store, new_owner(), itertools.count()

    def both() -> None:
        claim = Claim("store", f"{name}{next(count)}", TTL)
        store.acquire(claim)
        store.release(claim)

    return both


def _reused(lock: object) -> Subject:
    def both() -> None:
        lock.acquire()  # type: ignore[attr-defined]  # ours and kazoo's
        lock.release()  # type: ignore[attr-defined]  # the same

    return both


@contextmanager
def _bare(address: str) -> Iterator[KazooClient]:
    from kazoo.client import KazooClient  # noqa: PLC0415 - where there is no server there may be no client

    client = KazooClient(address)
    client.start()
    try:
        yield client
    finally:
        client.stop()
        client.close()


@contextmanager
def _own_server() -> Iterator[str]:
    """A server alone, and its address; stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
        port, here = free_port(), Path(directory)
        lines = [f"dataDir={here}", f"clientPort={port}", "clientPortAddress=127.0.0.1", "tickTime=2000"]
        (here / "zoo.cfg").write_text("\n".join([*lines, "admin.enableServer=false"]), encoding="utf-8")
        java = ["java", "-Xmx128m", "-XX:+UseSerialGC", "-Dzookeeper.forceSync=no", "-cp", str(JAR)]
        command = [*java, "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(here / "zoo.cfg")]
        with started(command, here / "server.log") as process:
            _wait_until_it_answers(port, process, here / "server.log")
            yield f"127.0.0.1:{port}"


def _wait_until_it_answers(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(b"srvr")
            if b"Mode: standalone" in connection.recv(8192):
                return
        time.sleep(0.05)
    raise RuntimeError(f"ZooKeeper did not start: {log.read_text(errors='replace')}")
