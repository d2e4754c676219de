"""The lock stores of the shared proof, and what ends the locks of a process that is stopped."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

from celery_locks.stores import Inspects, open_store
from tests.stores.session_stores import without_tls
from tests.stores.zookeeper_stores import lasting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pytest


class Place(NamedTuple):
    """Where locks are, and what is done to those of a stopped process, by their keys."""

    url: str
    end: Callable[[Sequence[str]], object]


def _expire(_: Sequence[str]) -> None:
    """The leases end by themselves: those of a stopped process are not renewed."""


def _of(fixture: str, before: str = "", after: str = "") -> Callable[[pytest.FixtureRequest], Place]:
    return lambda request: Place(f"{before}{request.getfixturevalue(fixture)}{after}", _expire)


def _sqlite(request: pytest.FixtureRequest) -> Place:
    return Place(f"sql+sqlite:///{request.getfixturevalue('tmp_path')}/locks.db", _expire)


def _session(request: pytest.FixtureRequest, fixture: str) -> Place:
    """Locks that live in a session of the database: the server ends the session, as it does with a silent one."""
    database = request.getfixturevalue(fixture)
    return Place(without_tls(database.url), lambda _: database.end_sessions())


def _zookeeper(request: pytest.FixtureRequest) -> Place:
    """Locks that live in a session with ZooKeeper, which ends it when it was silent for two seconds."""
    return Place(lasting(request.getfixturevalue("zookeeper_url"), 2), _expire)


def _file(request: pytest.FixtureRequest) -> Place:
    """Locks that live as long as their process, stopped or not: somebody forces them out."""
    url = f"file://{request.getfixturevalue('tmp_path')}/locks"

    def force_out(keys: Sequence[str]) -> None:
        with contextlib.closing(open_store(url)) as store:
            assert isinstance(store, Inspects)
            assert all(store.force_release(key) for key in keys)

    return Place(url, force_out)


LOCK_STORES: dict[str, Callable[[pytest.FixtureRequest], Place]] = {
    "redis": _of("redis_url"),
    "valkey": _of("valkey_url"),
    "redlock": _of("redlock_url"),
    "sqlite": _sqlite,
    "postgres": _of("postgres_url", "sql+"),
    "mariadb": _of("mariadb_url", "sql+"),
    "advisory": lambda request: _session(request, "advisory_database"),
    "getlock": lambda request: _session(request, "getlock_database"),
    "etcd": _of("etcd_url"),
    "zookeeper": _zookeeper,
    "file": _file,
}
