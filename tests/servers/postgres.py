"""A private Postgres, with a database for each test."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import psycopg

from tests.servers.accounts import lower
from tests.servers.process import HOST, PrivateServer
from tests.servers.programs import INITDB, POSTGRES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# A kill loses nothing that the operating system has, so the disk need not be waited for.
_SETTINGS = {"fsync": "off", "max_connections": "300", "shared_buffers": "32MB", "autovacuum_naptime": "1s"}
_databases = itertools.count(1)


class PostgresServer(PrivateServer):
    """One server. Any setting may be given: `PostgresServer(idle_session_timeout="3s")`. Nobody needs a password."""

    program = POSTGRES
    patience = 60

    def __init__(self, port: int | None = None, **settings: str) -> None:
        super().__init__(port)
        ours = {"port": str(self.port), "listen_addresses": HOST, "unix_socket_directories": str(self.directory)}
        # What is shared lies in our directory, where a kill cannot leave it behind.
        self.settings = {**ours, "dynamic_shared_memory_type": "mmap", **_SETTINGS, **settings}
        self._lower = lower("postgres", self.directory)

    def command(self) -> list[str]:
        """The server with every setting on its command line."""
        settings = (word for name, value in self.settings.items() for word in ("-c", f"{name}={value}"))
        return [*self._lower, self.program.find() or self.program.name, "-D", str(self._data), *settings]

    def start(self) -> None:
        """Make its data at the first start, then start it."""
        if not self._data.exists():
            self._initialize()
        super().start()

    def _initialize(self) -> None:
        how = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        make = [*self._lower, INITDB.find() or INITDB.name, "-D", str(self._data), *how]
        subprocess.run(make, check=True, capture_output=True, stdin=subprocess.DEVNULL, cwd=self.directory)

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def url(self, database: str = "postgres") -> str:
        """The address of a database."""
        return f"postgresql://postgres@{HOST}:{self.port}/{database}"

    def ask(self, statement: str, database: str = "postgres") -> list[Any]:
        """The rows that one statement gives, committed by itself."""
        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def answers(self) -> bool:
        """It answers a question, and is not still mending its data."""
        with contextlib.suppress(psycopg.Error):
            return self.ask("SELECT 1") == [(1,)]
        return False

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The address of a new, empty database, which is removed at the end."""
        name = f"test_{next(_databases)}"
        self.ask(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self.heal()
            self.ask(f"DROP DATABASE {name} WITH (FORCE)")

    def stop(self) -> None:
        """End it without waiting until its clients are gone."""
        self._end(signal.SIGINT)

    def close(self) -> None:
        """End it so that it gives back what it shares."""
        self._end(signal.SIGQUIT)
        super().close()

    def _signal(self, what: signal.Signals) -> None:
        """Each session is a process in a group of its own: a kill, a pause and its end are for all of them."""
        sessions = self._children() if what in {signal.SIGKILL, signal.SIGSTOP, signal.SIGCONT} else []
        super()._signal(what)
        for pid in sessions:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, what)

    def _children(self) -> list[int]:
        if not self.is_alive():
            return []
        listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True).stdout
        pairs = (line.split() for line in listed.splitlines())
        return [int(pid) for pid, parent in pairs if int(parent) == self.pid]
