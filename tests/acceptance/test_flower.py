"""Flower beside a real worker whose jobs wait and are skipped. It is no part of the oldest packages."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.request import urlopen

import pytest

from tests.acceptance.nodes import QUIET
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.servers.process import HOST, PrivateServer
from tests.servers.programs import Program
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.acceptance.conftest import System
    from tests.acceptance.nodes import Worker

pytestmark = [
    only_redis,
    pytest.mark.newest,
    pytest.mark.skipif(find_spec("flower") is None, reason="flower is missing; it is installed by: pip install flower"),
]


class Flower(PrivateServer):
    """As an operator starts it: it knows the broker, and none of our modules."""

    program: ClassVar[Program] = Program("flower", apt="", brew="")
    patience = PATIENCE

    def __init__(self, broker: str) -> None:
        super().__init__()
        self._broker = broker

    def command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "celery", "-b", self._broker, "flower"),
            *(f"--port={self.port}", f"--address={HOST}", "--logging=INFO"),
        ]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "FLOWER_UNAUTHENTICATED_API": "true"}

    def answers(self) -> bool:
        return bool(self.log_tail(100).count("Connected to "))

    def workers(self) -> set[str]:
        """Those whose events it has heard."""
        return {each["hostname"] for each in self.tell("workers?json=1").get("data", ())}

    def tell(self, path: str) -> Any:
        """What it answers; nothing while it cannot."""
        try:
            with urlopen(f"http://{HOST}:{self.port}/{path}", timeout=PATIENCE) as answer:
                return json.load(answer)
        except OSError:
            return {}


def test_what_flower_shows_of_locked_jobs(desk: Office, hire: Callable[..., Worker], system: System) -> None:
    """One that waits is RETRY and says for what, then SUCCESS; a skipped one is REVOKED; no event troubles it."""
    worker = hire("worker", queues=["flower"], arguments=(*QUIET, "-E"))
    with Flower(system.conf["broker_url"]) as flower:
        worker.start()
        # What is told before it listens it does not hear.
        wait_until(lambda: worker.name in flower.workers(), "the worker to be heard", PATIENCE, interval=0.1)

        def shown(job: str, state: str) -> dict[str, Any]:
            task: dict[str, Any] = flower.tell(f"api/task/info/{job}")
            return task if task.get("state") == state else {}

        with desk.taken() as lease:
            waits = desk.send("line", "waits", queue="flower")
            task = wait_until(lambda: shown(waits.id, "RETRY"), "the waiting job to be shown", PATIENCE, interval=0.1)
            assert desk.key in task["exception"]
            assert lease.owner.partition("#")[0] in task["exception"]
            skipped = desk.send("skip", "skipped", queue="flower")
            wait_until(lambda: shown(skipped.id, "REVOKED"), "the skipped one to be shown", PATIENCE, interval=0.1)
        task = wait_until(lambda: shown(waits.id, "SUCCESS"), "the job to have ended", PATIENCE, interval=0.1)
        assert (task["name"], task["worker"]) == ("line", worker.name)
        log = flower.log_tail(1000)
    assert not [line for line in log.splitlines() if "Traceback" in line or "[E " in line or "Error" in line]
