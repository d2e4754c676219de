"""Asks the database, and tells apart what may be tried again, what must be made first, and what is an outage."""

from __future__ import annotations

import math
import random
import time
from typing import TYPE_CHECKING, Any

from celery_locks.stores.sql import mending, table
from celery_locks.stores.sql.connect import Opener
from celery_locks.stores.sql.statements import Statement, Statements
from celery_locks.stores.sql.wire import Unreached

if TYPE_CHECKING:
    from celery_locks.stores.sql.address import Address
    from celery_locks.stores.sql.wire import Answer

_TABLES = "SELECT count(*) FROM sqlite_master"
_WAL = "PRAGMA journal_mode = WAL"
#: Seconds for which a table that could not be made is not tried again, where locks do without it.
_UNMADE = 3600.0


class Database:
    """One table in one database."""

    def __init__(self, address: Address, options: dict[str, Any]) -> None:
        self._address = address
        self._opener = Opener(address, options)
        self._table = table.made(address.table, address.schema)
        self._conflicts = table.of_conflicts(address.table, address.schema)
        self._wire = self._opener.wire()
        self._errors: tuple[type[Exception], ...] = (*self._opener.errors, Unreached)
        self._statements: Statements | None = None
        self.is_remote = self._wire.is_remote
        self._may_make_at = -math.inf

    @property
    def name(self) -> str:
        """Its address, without a password."""
        return self._address.shown

    @property
    def statements(self) -> Statements:
        """What it can be asked."""
        if self._statements is None:
            # No cached_property: its lock, held by another thread at a fork, would never open in the child.
            dialect = self._opener.dialect
            name = dialect.identifier_preparer.format_table
            tables = name(self._table), name(self._conflicts)
            self._statements = Statements(self._opener.tongue, *tables, dialect)
        return self._statements

    def ask(self, statement: Statement, named: dict[str, Any]) -> Answer:
        """The answer to a statement. Raises `StoreUnavailable`, whose cause is the driver's error."""
        try:
            return self._wire.run(statement, named, mending.is_harmless)
        except self._errors as error:
            return self._again(statement, named, error)

    def create_table(self) -> None:
        """Make the tables and their index where they are missing. Locks work without the one of conflicts."""
        try:
            failed = [error for error in map(self._failure, self._steps()) if error]
        except self._errors as error:
            failed = [error]
        # Two that make it at the same moment are in each other's way, and then it is there.
        if failed and self._failure(self.statements.look):
            raise mending.outage(self.name, failed[0]) from failed[0]

    def ddl(self) -> str:
        """The statements that make them."""
        return "".join(f"{step};\n" for step in self._words())

    def close(self) -> None:
        """Give back the connections."""
        self._wire.hang_up()

    def _again(self, statement: Statement, named: dict[str, Any], error: BaseException) -> Answer:
        """Ask again after an error that can be mended; any other is an outage, and so is one that comes back."""
        end, sent = time.monotonic() + self._address.timeout, _sent(error)
        may_make, may_connect = time.monotonic() >= self._may_make_at, True
        made = False
        while time.monotonic() < end:
            if mending.has_yielded(error):
                time.sleep(random.uniform(0, 0.01))  # noqa: S311 - no secret
            elif mending.lacks_table(error) and may_make:
                may_make, made = False, True
                self.create_table()
            elif mending.is_broken(error) and may_connect and self.is_remote:
                # It may have died while nobody used it, and the others with it. Every statement may be repeated.
                may_connect = False
                self._wire.hang_up()
            else:
                break
            try:
                return self._wire.run(statement, named, mending.is_harmless)
            except self._errors as again:
                error, sent = again, sent or _sent(again)
        if made and mending.lacks_table(error):
            # That of conflicts: of the other it would have been said. A live view asks for it every two seconds.
            self._may_make_at = time.monotonic() + _UNMADE
        # Its cause tells whether anything may have arrived.
        raise mending.outage(self.name, error) from (sent or error)

    def _steps(self) -> list[Statement]:
        dialect = self._opener.dialect
        steps = [Statement(words, dialect) for words in self._words()]
        if not self.is_remote and self._alone(Statement(_TABLES, dialect)).rows == [(0,)]:
            # A file that is only ours. In one that others use already, how it is written is theirs to say.
            steps.insert(0, Statement(_WAL, dialect))
        return steps

    def _words(self) -> list[str]:
        return [words for each in (self._table, self._conflicts) for words in table.ddl(each, self._opener.dialect)]

    def _failure(self, statement: Statement) -> BaseException | None:
        try:
            self._alone(statement)
        except self._errors as error:
            return error
        return None

    def _alone(self, statement: Statement) -> Answer:
        # What a connection may do is asked when it is made: each step has a new one.
        self._wire.hang_up()
        return self._wire.run(statement, {"digest": ""}, mending.is_harmless)


def _sent(error: BaseException) -> BaseException | None:
    """The error, if there was a connection to have it on."""
    return None if isinstance(error, Unreached) else error
