"""URLs of the SQL store: what is meant by them, and what is said of a mistake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from celery_locks.errors import LockConfigError
from celery_locks.stores import open_store
from celery_locks.stores.sql import SqlStore, connect

_OPEN = """
import sys
from celery_locks.errors import LockConfigError
from celery_locks.stores import open_store
try:
    open_store(sys.argv[1])
except LockConfigError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("sql+sqlite:////tmp/locks.db", "pysqlite"),
        ("sql+postgresql://host/db", "psycopg"),
        ("sql+postgresql+psycopg://host/db", "psycopg"),
        ("sql+mysql://host/db", "pymysql"),
        ("sql+mysql+pymysql://host/db", "pymysql"),
        ("sql+mariadb://host/db", "pymysql"),
        ("sql+mariadb+pymysql://host/db", "pymysql"),
    ],
)
def test_a_url_names_a_database_and_its_driver(url: str, driver: str) -> None:
    """Without a driver's name the one that is installed is used; nothing connects yet."""
    store = open_store(url)
    assert isinstance(store, SqlStore)
    assert store._database._opener.dialect.driver == driver


@pytest.mark.parametrize(
    ("url", "unbounded", "driver"),
    [
        ("sql+postgresql://host/db", "psycopg2", "psycopg"),
        ("sql+mysql://host/db", "MySQLdb", "pymysql"),
        ("sql+mariadb://host/db", "MySQLdb", "pymysql"),
    ],
)
def test_a_driver_whose_waits_have_a_bound_is_preferred(
    url: str, unbounded: str, driver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where two are installed; the other is taken where it alone is."""
    (tmp_path / f"{unbounded}.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    store = open_store(url)
    assert isinstance(store, SqlStore)
    assert store._database._opener.dialect.driver == driver
    monkeypatch.setitem(sys.modules, driver, None)  # it cannot be imported
    assert connect._driver(url.removeprefix("sql+").partition(":")[0]).lower().endswith(f"+{unbounded.lower()}")


@pytest.mark.parametrize("url", ["sql+postgresql://host/db", "postgresql+advisory://host/db"])
def test_a_driver_without_its_library_is_one_line(url: str) -> None:
    """Psycopg that finds no libpq is told of as a driver that is not installed is: with its mend."""
    ended = subprocess.run(
        [sys.executable, "-c", _OPEN, url],
        env={**os.environ, "PSYCOPG_IMPL": "none"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert ended.stderr == ""
    (line,) = ended.stdout.splitlines()
    assert "which cannot be loaded (" in line
    assert line.endswith("pip install 'celery-locks[postgresql]'")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("sql+postgresql://user:secret@host:port/db", "is not the URL of a database; write sql"),
        ("sql+postgresql://user:secret@host:70000/db", "the port must be a number from 1 to 65535"),
        ("sql+postgresql://user:secret@host/db?colour=red", "has an option that psycopg does not know: colour"),
        ("sql+mysql://user:secret@host/db?colour=red", "has an option that pymysql does not know: colour"),
        ("sql+mysql://user:secret@host", "names no database"),
        ("sql+mysql://user:secret@host/", "names no database"),
        ("sql+sqlite://", "locks in memory are memory://"),
        ("sql+sqlite:///:memory:", "locks in memory are memory://"),
        ("sql+nonsense://user:secret@host/db", "SQLAlchemy cannot take"),
        ("sql+postgresql+asyncpg://user:secret@host/db", "asyncpg"),
        ("sql+sqlite:////tmp/a.db?table=a-b", "table must be a name"),
        ("sql+sqlite:////tmp/a.db?table=a;drop", "table must be a name"),
        ("sql+sqlite:////tmp/a.db?timeout=soon", "timeout must be seconds"),
        ("sql+sqlite:////tmp/a.db?timeout=0", "timeout must be seconds"),
        ("sql+sqlite:////tmp/a.db?timeout=nan", "timeout must be seconds"),
        ("sql+sqlite:////tmp/a.db?fence_retention=-1", "fence_retention must be seconds"),
    ],
)
def test_a_mistake_is_named_with_its_mend(url: str, says: str) -> None:
    """One line, known when the store is opened, without the password."""
    with pytest.raises(LockConfigError, match=says) as caught:
        open_store(url)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_option_that_no_engine_takes_is_a_mistake() -> None:
    """Options are those of SQLAlchemy's engines; the locks have no pool of its."""
    with pytest.raises(LockConfigError, match="pool_size"):
        open_store("sql+sqlite:////tmp/a.db", options={"pool_size": 3})


def test_options_reach_the_driver() -> None:
    """What is given in connect_args comes before our own bounds."""
    store = open_store("sql+sqlite:////nowhere/a.db", options={"connect_args": {"timeout": 0.1}})
    assert isinstance(store, SqlStore)
    assert store._database._opener._engine.dialect.name == "sqlite"


def test_a_store_names_its_address_without_a_password() -> None:
    """Also one that came in the query."""
    store = open_store("sql+postgresql://user:secret@host/db?password=secret&sslmode=prefer")
    assert "@host/db" in repr(store)
    assert "secret" not in repr(store)
