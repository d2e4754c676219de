"""The table: what a row holds, and the statements that make it."""

from __future__ import annotations

import functools
import hashlib
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, Text
from sqlalchemy.dialects import mysql
from sqlalchemy.schema import CreateIndex, CreateTable

from celery_locks.errors import LockConfigError

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect
    from sqlalchemy.schema import ExecutableDDLElement
    from sqlalchemy.types import TypeEngine

#: Hexadecimal digits: 256 bits for a key, which must never be taken for another, and 128 for an owner.
DIGITS, OWNER_DIGITS = 64, 32
#: So many owners that are done with a key are remembered. A row must not grow with its use.
REMEMBERED = 16


def made(name: str, schema: str | None = None) -> Table:
    """One row a key. A row stays when its key is released, for it remembers the last fence and who is done."""
    table = Table(
        name,
        MetaData(),
        Column("digest", _digits(DIGITS), primary_key=True, comment="SHA-256 of prefix and key"),
        Column("prefix", _text(), nullable=False),
        Column("name", _text(), nullable=False, comment="the key, as it was given"),
        Column("owner", _text(), comment="null: it is free"),
        Column("holder", _digits(OWNER_DIGITS), comment="SHA-256 of the owner, half of it"),
        Column("fence", BigInteger, nullable=False),
        Column("expires_at", BigInteger, nullable=False, comment="microseconds since 1970, by the database's clock"),
        # What is indexed changes once an hour, so that a renewal touches no index.
        Column("expires_hour", Integer, nullable=False),
        Column("done", _digits(OWNER_DIGITS * REMEMBERED), nullable=False, comment="owners that may take it no more"),
        schema=schema,
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
        sqlite_with_rowid=False,
    )
    Index(f"{name}_expires_hour", table.c.expires_hour)
    return table


def of_conflicts(name: str, schema: str | None = None) -> Table:
    """One row a key that is often found taken, beside the table with this name. No lock needs it."""
    return Table(
        f"{name}_conflicts",
        MetaData(),
        Column("digest", _digits(DIGITS), primary_key=True, comment="as in the table of locks"),
        Column("prefix", _text(), nullable=False),
        Column("name", _text(), nullable=False, comment="the key, as it was given"),
        Column("conflicts", BigInteger, nullable=False),
        Column("waited", BigInteger, nullable=False, comment="microseconds, of all"),
        Column("held", BigInteger, nullable=False, comment="microseconds, the longest that was seen"),
        Column("latest", _text(), nullable=False, comment="a line for each, the latest first"),
        Column("seen_at", BigInteger, nullable=False, comment="microseconds since 1970, by the database's clock"),
        schema=schema,
        mysql_engine="InnoDB",
        mariadb_engine="InnoDB",
        sqlite_with_rowid=False,
    )


def _text() -> TypeEngine[str]:
    exact = mysql.MEDIUMTEXT(charset="utf8mb4", collation="utf8mb4_bin")
    return Text().with_variant(exact, "mysql", "mariadb")


def _digits(length: int) -> TypeEngine[str]:
    exact = mysql.VARCHAR(length, charset="ascii", collation="ascii_bin")
    return Text().with_variant(exact, "mysql", "mariadb")


def ddl(table: Table, dialect: Dialect) -> list[str]:
    """The statements that make the table and its index where they are missing."""
    # MySQL does not know IF NOT EXISTS for an index, and says so with an error that does no harm.
    known = dialect.name not in {"mysql", "mariadb"}
    steps: list[ExecutableDDLElement] = [CreateTable(table, if_not_exists=True)]
    steps += [CreateIndex(index, if_not_exists=known) for index in table.indexes]
    table_, *indexes = (str(step.compile(dialect=dialect)).strip() for step in steps)
    # Room on each page for the next version of a row, beside the old one. SQLAlchemy cannot say so before 2.1.
    return [table_ + " WITH (fillfactor = 50)" if dialect.name == "postgresql" else table_, *indexes]


@functools.lru_cache(maxsize=1024)
def digest(prefix: str, key: str) -> str:
    """The name of a row. The length keeps prefix and key apart, which joined might read like others."""
    return _hashed(f"{len(prefix)}:{prefix}{key}")[:DIGITS]


def about(kind: str, prefix: str, key: str) -> str:
    """The name of a row that says something about a key, and is no lock."""
    return _hashed(f"{kind} {len(prefix)}:{prefix}{key}")[:DIGITS]


@functools.lru_cache(maxsize=1024)
def holder(owner: str) -> str:
    """An owner, short and of one length."""
    return _hashed(owner)[:OWNER_DIGITS]


def _hashed(text: str) -> str:
    try:
        return hashlib.sha256(text.encode()).hexdigest()
    except UnicodeEncodeError as error:
        raise LockConfigError(
            f"a key or owner cannot be written as UTF-8 ({error}): take the stray surrogate out of it"
        ) from None


def written(text: str) -> str:
    """A text as a column can hold it: Postgres has no NUL."""
    return text.replace("\\", "\\\\").replace("\0", "\\0") if "\0" in text or "\\" in text else text


def read(text: str) -> str:
    """What was written."""
    if "\\" not in text:
        return text
    return "\\".join(part.replace("\\0", "\0") for part in text.split("\\\\"))
