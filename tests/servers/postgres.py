"""A private Postgres, with a database for each test."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import Any

import psycopg

from tests.servers.accounts import lower
from tests.servers.databases import DatabaseServer
from tests.servers.process import HOST
from tests.servers.programs import INITDB, POSTGRES

# A kill loses nothing that the operating system has, so the disk need not be waited for.
_SETTINGS = {"fsync": "off", "max_connections": "300", "shared_buffers": "32MB", "autovacuum_naptime": "1s"}


class PostgresServer(DatabaseServer):
    """One server. Any setting may be given: `PostgresServer(idle_session_timeout="3s")`. Nobody needs a password."""

    program = POSTGRES
    failures = (psycopg.Error,)
    removing = " WITH (FORCE)"

    def __init__(self, port: int | None = None, **settings: str) -> None:
        super().__init__(port)
        ours = {"port": str(self.port), "listen_addresses": HOST, "unix_socket_directories": str(self.directory)}
        # What is shared lies in our directory, where a kill cannot leave it behind.
        self.settings = {**ours, "dynamic_shared_memory_type": "mmap", **_SETTINGS, **settings}
        self._lower = lower("postgres", self.directory)

    def command(self) -> list[str]:
        """The server with every setting on its command line."""
        settings = (word for name, value in self.settings.items() for word in ("-c", f"{name}={value}"))
        return [*self._lower, self.program.find() or self.program.name, "-D", str(self.data), *settings]

    def installer(self) -> list[str]:
        """One that lets everybody in without a password."""
        how = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync"]
        return [*self._lower, INITDB.find() or INITDB.name, "-D", str(self.data), *how]

    def url(self, database: str = "postgres") -> str:
        """The address of a database."""
        return f"postgresql://postgres@{HOST}:{self.port}/{database}"

    def ask(self, statement: str, database: str = "postgres") -> list[Any]:
        """The rows that one statement gives, committed by itself."""
        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

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
