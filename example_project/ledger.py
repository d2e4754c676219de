"""The bank's books, one SQLite file: a balance for each user, and when each run of a job began and ended."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from typing_extensions import Self

TABLES = """
PRAGMA journal_mode = WAL;
DROP TABLE IF EXISTS wallets;
DROP TABLE IF EXISTS runs;
DROP TABLE IF EXISTS requeues;
DROP TABLE IF EXISTS audits;
CREATE TABLE wallets (user_id INTEGER PRIMARY KEY, balance INTEGER NOT NULL, fence INTEGER NOT NULL DEFAULT 0);
CREATE TABLE runs (id INTEGER PRIMARY KEY, job TEXT, worker TEXT, user_id INTEGER, fence INTEGER,
                   began REAL NOT NULL, ended REAL, killed INTEGER NOT NULL DEFAULT 0);
CREATE TABLE requeues (key TEXT, attempts INTEGER, at REAL);
CREATE TABLE audits (due TEXT, total INTEGER);
"""


class StaleFenceError(Exception):
    """A later holder has written to the wallet: whoever writes now has lost its lock without knowing."""


class Run(NamedTuple):
    """One run of one job: from before it read the balance until after it wrote. No end: it still runs."""

    id: int
    job: str
    worker: str
    user_id: int
    fence: int
    began: float
    ended: float | None
    killed: bool


class Ledger:
    """An open ledger; the file is BANK_LEDGER's unless one is named.

    Times are monotonic, so intervals of several processes can be compared on one machine, between two boots.
    """

    def __init__(self, path: str | Path | None = None) -> None:
        path = path or os.environ.get("BANK_LEDGER", "bank.sqlite")
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._db.execute("PRAGMA synchronous = OFF")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def open_accounts(self, users: range, balance: int) -> None:
        """Start a new book: these users, this balance each, nothing else."""
        self._db.executescript(TABLES)
        rows = [(user, balance) for user in users]
        self._db.executemany("INSERT INTO wallets (user_id, balance) VALUES (?, ?)", rows)

    def balance(self, user_id: int) -> int:
        """What is in the wallet."""
        return self._number("SELECT balance FROM wallets WHERE user_id = ?", user_id)

    def write(self, user_id: int, balance: int, fence: int = 0) -> None:
        """Set the balance, unless a holder with a higher fence has written before: then raise `StaleFenceError`.

        The fence is compared inside the write itself: between a check and a write, a lease can end.
        """
        statement = "UPDATE wallets SET balance = ?, fence = ? WHERE user_id = ? AND fence <= ?"
        if not self._db.execute(statement, (balance, fence, user_id, fence)).rowcount:
            raise StaleFenceError(f"wallet {user_id} was written by a later holder than {fence}")

    @contextmanager
    def run(self, job: str | None, worker: str | None, user_id: int, fence: int = 0) -> Iterator[None]:
        """Note when the body begins and when it ends."""
        run_id = self.begin(job, worker, user_id, fence)
        try:
            yield
        finally:
            self._db.execute("UPDATE runs SET ended = ? WHERE id = ?", (time.monotonic(), run_id))

    def begin(self, job: str | None, worker: str | None, user_id: int, fence: int = 0) -> int:
        """Note that a run begins. One that is killed has no end."""
        statement = "INSERT INTO runs (job, worker, user_id, fence, began) VALUES (?, ?, ?, ?, ?) RETURNING id"
        return self._number(statement, job, worker, user_id, fence, time.monotonic())

    def note_requeue(self, key: str, attempts: int) -> None:
        """Note that a job for this key went back on the queue."""
        self._db.execute("INSERT INTO requeues VALUES (?, ?, ?)", (key, attempts, time.monotonic()))

    def note_audit(self, due: str, total: int) -> None:
        """Note what was in all wallets when this audit was made."""
        self._db.execute("INSERT INTO audits VALUES (?, ?)", (due, total))

    def audits(self) -> list[datetime]:
        """For when each audit was due, in their order."""
        return [datetime.fromisoformat(due) for (due,) in self._db.execute("SELECT due FROM audits ORDER BY due")]

    def note_killed(self, run: Run) -> bool:
        """End a run whose worker was killed by now; False if it had ended before."""
        statement = "UPDATE runs SET ended = ?, killed = 1 WHERE id = ? AND ended IS NULL"
        return self._db.execute(statement, (time.monotonic(), run.id)).rowcount == 1

    def runs(self, job: str | None = None) -> list[Run]:
        """All runs, or those of one job, in the order they began."""
        rows = self._db.execute("SELECT * FROM runs WHERE job = ? OR ? IS NULL ORDER BY began", (job, job))
        return [Run(*row) for row in rows]

    def balances(self) -> dict[int, int]:
        """What is in every wallet."""
        return dict(self._db.execute("SELECT user_id, balance FROM wallets").fetchall())

    def finished(self) -> int:
        """How many runs have ended."""
        return self._number("SELECT count(ended) FROM runs")

    def requeues(self) -> int:
        """How many times a job went back on the queue."""
        return self._number("SELECT count(*) FROM requeues")

    def _number(self, query: str, *values: float | str | None) -> int:
        return int(self._db.execute(query, values).fetchone()[0])
