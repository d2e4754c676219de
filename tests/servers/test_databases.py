"""The private Postgres and MariaDB answer, keep tests apart, and can be broken and mended."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import pymysql
import pytest

from tests.servers.postgres import PostgresServer
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.mariadb import MariaServer

    Server = PostgresServer | MariaServer

_LOST = (psycopg.OperationalError, pymysql.OperationalError)


@pytest.fixture(params=["postgres_server", "mariadb_server"])
def server(request: pytest.FixtureRequest) -> Any:
    return request.getfixturevalue(request.param)


@pytest.fixture
def connect(server: Server) -> Callable[[], Any]:
    """A session that stays open."""

    def open_one() -> Any:
        if isinstance(server, PostgresServer):
            return psycopg.connect(server.url(), autocommit=True)
        return pymysql.connect(host="127.0.0.1", port=server.port, user="root", autocommit=True)

    return open_one


def _answer(session: Any) -> int:
    with contextlib.closing(session.cursor()) as cursor:
        cursor.execute("SELECT 1")
        return int(cursor.fetchone()[0])


def test_each_test_has_its_own_database(server: Server) -> None:
    """Databases share no table, and are gone afterwards."""
    with server.database() as one, server.database() as two:
        name, other = (url.rpartition("/")[2] for url in (one, two))
        server.ask("CREATE TABLE letters (id INT)", name)
        server.ask("CREATE TABLE letters (id INT)", other)
    with pytest.raises(_LOST):
        server.ask("SELECT 1", name)


def test_a_kill_loses_nothing_that_was_committed(server: Server) -> None:
    """What was committed is there after a kill, on the same port."""
    with server.database() as url:
        name = url.rpartition("/")[2]
        server.ask("CREATE TABLE letters (id INT)", name)
        server.ask("INSERT INTO letters VALUES (7)", name)
        server.kill()
        assert server.heal()
        assert server.ask("SELECT id FROM letters", name) == [(7,)]


def test_a_stop_ends_the_sessions(server: Server, connect: Callable[[], Any]) -> None:
    """A server that is stopped does not wait until its clients are gone."""
    session = connect()
    server.stop()
    assert not server.is_alive()
    with pytest.raises(_LOST):
        _answer(session)


def test_a_kill_ends_the_sessions(server: Server, connect: Callable[[], Any]) -> None:
    """No session goes on that a kill left without its server."""
    session = connect()
    server.kill()
    with pytest.raises(_LOST):
        _answer(session)


def test_a_pause_is_for_all_sessions(server: Server, connect: Callable[[], Any]) -> None:
    """A session that was open before a pause is mute too, and answers after it."""
    session, answers = connect(), []
    server.pause()
    asking = threading.Thread(target=lambda: answers.append(_answer(session)))
    asking.start()
    asking.join(0.3)
    assert answers == []
    server.resume()
    wait_until(lambda: answers == [1], "the answer after the pause")
    asking.join(10)
    session.close()


def test_no_server_is_root(server: Server) -> None:
    """Also where the tests run as root, the server does not."""
    user = subprocess.run(["ps", "-o", "user=", "-p", str(server.pid)], capture_output=True, text=True, check=True)
    assert user.stdout.strip() != "root"


_A_RUN_THAT_DIES = """
import os, signal
from tests.servers.{module} import {name}
server = {name}()
server.start()
print(server.pid, server.directory, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_database_does_not_outlive_a_killed_run(server: Server) -> None:
    """When the test run is killed, the kernel ends a server that runs under another account too."""
    if sys.platform != "linux":
        pytest.skip("only Linux ends a process together with another")
    kind = type(server)
    code = _A_RUN_THAT_DIES.format(module=kind.__module__.rpartition(".")[2], name=kind.__name__)
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    pid, directory = run.stdout.split()
    wait_until(lambda: _is_gone(int(pid)), f"process {pid} to end with the run that started it")
    shutil.rmtree(directory)


def _is_gone(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return not state.strip() or state.startswith("Z")
