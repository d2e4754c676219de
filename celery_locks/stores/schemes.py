"""Which module is the store of which URLs, and the extra that brings its client."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple, cast

from celery_locks.errors import LockConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.stores.base import Store


class Home(NamedTuple):
    """Where a store lives, and the extra of this package that its client comes with."""

    module: str
    extra: str | None = None

    def factory(self, scheme: str) -> Callable[..., Store]:
        """What opens it. Raises `LockConfigError` naming the extra when its client is not installed, or not whole."""
        path = f"celery_locks.stores.{self.module}"
        try:
            module = importlib.import_module(path)
        except ImportError as error:
            if self.extra is None or (error.name or "").startswith("celery_locks"):
                raise
            raise LockConfigError(
                f"{scheme}:// needs {lacking(error, 'its client')}: pip install 'celery-locks[{self.extra}]'"
            ) from None
        return cast("Callable[..., Store]", module.from_url)


def lacking(error: ImportError, client: str) -> str:
    """What is missing, in words. A client may be there and find no library of its own, as psycopg without libpq."""
    if isinstance(error, ModuleNotFoundError):
        return f"{error.name}, which is not installed"
    return f"{client}, which cannot be loaded ({' '.join(str(error).split())[:300]})"


_REDIS = Home("redis")
_SQL = Home("sql", "sql")

BUILT_IN = {
    "memory": Home("memory"),
    "file": Home("file"),
    **dict.fromkeys(
        (
            f"{scheme}{form}"
            for scheme in ("redis", "rediss", "valkey", "valkeys")
            for form in ("", "+sentinel", "+cluster", "+socket")
            if not (form == "+socket" and scheme.endswith("s") and scheme != "redis")
        ),
        _REDIS,
    ),
    "unix": _REDIS,
    "redlock": Home("redlock"),
    "redlocks": Home("redlock"),
    "postgresql+advisory": Home("advisory", "postgresql"),
    "mysql+getlock": Home("getlock", "mysql"),
    "mariadb+getlock": Home("getlock", "mysql"),
    "etcd": Home("etcd"),
    "etcds": Home("etcd"),
    "zookeeper": Home("zookeeper", "zookeeper"),
}


def home(scheme: str) -> Home | None:
    """Where the store of these URLs lives; None when it is not one of this package."""
    # What follows sql+ is SQLAlchemy's own name for a database and its driver.
    return _SQL if scheme.startswith("sql+") else BUILT_IN.get(scheme)
