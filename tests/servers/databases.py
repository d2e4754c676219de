"""What private servers of databases have in common."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from tests.servers.process import PrivateServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_numbers = itertools.count(1)
#: Asks how many requests wait for a row that another transaction has written, by kind of database: the last of what it
#: gives is that number. What innodb_trx shows is as old as somebody keeps on asking for it.
WAITING_FOR_ROWS = {
    "postgresql": "SELECT count(*) FROM pg_stat_activity"
    " WHERE datname = current_database() AND wait_event_type = 'Lock'",
    "mysql": "SHOW GLOBAL STATUS LIKE 'Innodb_row_lock_current_waits'",
}


class DatabaseServer(PrivateServer):
    """Makes its data at the first start, and a database for each test."""

    patience = 60
    #: What asking raises while it is not there.
    failures: ClassVar[tuple[type[Exception], ...]]
    #: How the statements end that make a database and that remove it.
    making: ClassVar[str] = ""
    removing: ClassVar[str] = ""

    @abstractmethod
    def url(self, database: str) -> str:
        """The address of a database."""

    @abstractmethod
    def ask(self, statement: str) -> list[Any]:
        """The rows that one statement gives, committed by itself."""

    @abstractmethod
    def installer(self) -> list[str]:
        """What makes its data."""

    @property
    def data(self) -> Path:
        """Where it keeps all."""
        return self.directory / "data"

    def start(self) -> None:
        """Make its data at the first start, then start it."""
        if not self.data.exists():
            make = self.installer()
            subprocess.run(make, check=True, capture_output=True, stdin=subprocess.DEVNULL, cwd=self.directory)
        super().start()

    def answers(self) -> bool:
        """It answers a question, and is not still mending its data."""
        with contextlib.suppress(*self.failures):
            return self.ask("SELECT 1") == [(1,)]
        return False

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The address of a new, empty database, which is removed at the end."""
        name = f"test_{next(_numbers)}"
        self.ask(f"CREATE DATABASE {name}{self.making}")
        try:
            yield self.url(name)
        finally:
            self.heal()
            self.ask(f"DROP DATABASE {name}{self.removing}")
