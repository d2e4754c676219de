"""What an error of a database means for us, and what to do about it, in words."""

from __future__ import annotations

from typing import Any

from celery_locks.errors import StoreUnavailable
from celery_locks.stores.mending import remedy, said

#: Two transactions met and one had to yield: nothing was done, and it may be tried again.
_YIELDED = {1205, 1213, 1020, "40001", "40P01"}
_NO_TABLE = {1146, "42P01"}
#: The connection is gone: for no reason that is known, by an administrator, or because it was idle for too long.
_BROKEN = {None, 0, 1053, 1927, 2006, 2013, 2055, 4031, "57P01", "57P02", "57P05"}

_GRANT = (
    "this user may not do that: give it SELECT, INSERT, UPDATE and DELETE on the table, and let one who may"
    " create tables make it once (create_table, ddl)"
)
_FULL = "the server has no connection left: raise max_connections, or lower the number of workers"
_LOGIN = "the user or password is wrong: write user:password@host, with / ? # % and @ as %2F %3F %23 %25 and %40"
#: A sign in the error's text, and what it asks for. The first that is found counts.
_ADVICE = {
    "database is locked": "another program writes to this file for longer than ?timeout=2: give the locks a file of"
    " their own",
    "unable to open database file": "make its folder, and let this user write there",
    "readonly database": "let this user write to the file and its folder",
    "disk is full": "free space on its disk",
    "disk I/O error": "look at the disk; the file must be on a local one",
    "not a database": "the file is something else: name another",
    "prepared statement": "a pooler such as PgBouncer is in between: add ?prepare_threshold=none",
    "already exists": "something else has this name: write another, ?table=my_locks",
    "has no column": "something else has this name: write another, ?table=my_locks",
    "no such column": "something else has this name: write another, ?table=my_locks",
    "Unknown column": "something else has this name: write another, ?table=my_locks",
    "does not exist": "create it, or correct the name in the URL",
    "Unknown database": "create it, or correct the name in the URL",
    "permission denied": _GRANT,
    "command denied": _GRANT,
    "to database": _GRANT,
    "authentication failed": _LOGIN,
    "no password supplied": _LOGIN,
    "Access denied": _LOGIN,
    "too many clients": _FULL,
    "Too many connections": _FULL,
    "connection slots": _FULL,
    "read-only": "this server takes no writes: name the primary",
    "starting up": "it has just started: wait",
    "shutting down": "it is being stopped: wait until it is back",
    "administrator command": "it is being stopped: wait until it is back",
    "deadlock": "other transactions stand in the way: give the locks a table that nothing else writes to",
    "ock wait timeout": "another transaction holds the row: give the locks a table that nothing else writes to",
    "could not serialize": "other transactions stand in the way: give the locks a table that nothing else writes to",
    "timed out": "it hangs, is overloaded or out of reach, or a transaction holds the row; the time allowed is"
    " by default ?timeout=2",
    "timeout expired": "it hangs, is overloaded or out of reach; the time allowed is by default ?timeout=2",
}


def cause(error: BaseException) -> BaseException:
    """The driver's error, out of SQLAlchemy's and ours."""
    while inner := getattr(error, "orig", None):
        error = inner
    return error


def has_yielded(error: BaseException) -> bool:
    """Whether a deadlock or the like struck. It says nothing about the key."""
    return _code(error) in _YIELDED


def lacks_table(error: BaseException) -> bool:
    """Whether the table is not there yet."""
    return _code(error) in _NO_TABLE or "no such table" in str(error)


def is_harmless(error: BaseException) -> bool:
    """Whether the connection it came over is as good as before."""
    return has_yielded(error) or lacks_table(error)


def is_broken(error: BaseException) -> bool:
    """Whether the connection died, and not because time ran out: to hear of that has cost enough already."""
    text = str(cause(error))
    return _code(error) in _BROKEN and "timed out" not in text and "timeout expired" not in text


def outage(name: str, error: BaseException) -> StoreUnavailable:
    """The error that says in one line what went wrong and how to mend it."""
    error = cause(error)
    what = said(error)
    return StoreUnavailable(f"{name} did not answer ({what}): {remedy(_ADVICE, what)}")


def _code(error: BaseException) -> Any:
    # The drivers of MariaDB and MySQL put a number in front, psycopg has a sqlstate, psycopg2 a pgcode.
    error = cause(error)
    if error.args and isinstance(error.args[0], int):
        return error.args[0]
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
