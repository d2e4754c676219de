"""What the URL of an SQL store says, taken apart."""

from __future__ import annotations

import math
import pathlib
import re
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from celery_locks.errors import LockConfigError
from celery_locks.stores import hidden

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

DAY = 86_400.0
LONGEST_RETENTION = 3650 * DAY
_NAME = re.compile(r"[A-Za-z_]\w{0,50}", re.ASCII)
_FORMS = (
    "sql+sqlite:////path/locks.db, sql+postgresql://user:password@host/database or"
    " sql+mysql://user:password@host/database"
)
_SECRETS = re.compile(r"(?<=[?&])([^=&]*(?:password|passwd)[^=&]*)=[^&]*", re.IGNORECASE)


class Address(NamedTuple):
    """The parts of a URL. A table may be `schema.table`."""

    shown: str
    url: URL
    table: str
    schema: str | None
    timeout: float
    retention: float

    @property
    def folder(self) -> str | None:
        """Where the file is that SQLite keeps; None for a server."""
        path = self.url.database if self.url.get_backend_name() == "sqlite" else None
        return str(pathlib.Path(path.removeprefix("file:")).absolute().parent) if path else None


def parse(url: str) -> Address:
    """Take a URL apart; a mistake in it is a one-line error with the right forms. Its password is never shown."""
    shown = _SECRETS.sub(r"\1=***", hidden(url))
    try:
        whole = make_url(url.partition("+")[2])
    except (ArgumentError, ValueError):
        raise LockConfigError(f"{shown!r} is not the URL of a database; write {_FORMS}") from None
    query = {name: value if isinstance(value, str) else value[-1] for name, value in whole.query.items()}
    schema, _, table = query.get("table", "celery_locks").rpartition(".")
    if not all(_NAME.fullmatch(name) for name in (table, schema or "public")):
        raise LockConfigError(f"{shown!r}: table must be a name of letters, digits and _, not {query['table']!r}")
    return Address(
        shown=shown,
        url=whole.difference_update_query(("table", "timeout", "fence_retention")),
        table=table,
        schema=schema or None,
        timeout=_seconds(shown, query, "timeout", 2.0, 3600.0),
        retention=_seconds(shown, query, "fence_retention", 2 * DAY, LONGEST_RETENTION),
    )


def _seconds(shown: str, query: dict[str, str], name: str, otherwise: float, most: float) -> float:
    try:
        seconds = float(query.get(name, otherwise))
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= most:
        raise LockConfigError(f"{shown!r}: {name} must be seconds above 0 and at most {most:g}, not {query[name]!r}")
    return seconds
