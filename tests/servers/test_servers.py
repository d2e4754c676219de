"""A private server starts, answers, and can be broken and mended."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.servers import missing
from tests.servers.process import PrivateServer
from tests.servers.programs import REDIS, Program
from tests.servers.redis import RedisServer
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Mute(PrivateServer):
    """A server that never answers."""

    program = Program("sleep", apt="coreutils", brew="coreutils")
    patience = 0.2

    def command(self) -> list[str]:
        return ["sh", "-c", "echo thinking; exec sleep 60"]

    def answers(self) -> bool:
        return False


class _Stillborn(_Mute):
    """A server that ends at once."""

    patience = 10

    def command(self) -> list[str]:
        return ["sh", "-c", "echo no such option; exit 3"]


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    missing.require(REDIS)
    with RedisServer(appendonly="yes", appendfsync="always") as server:
        yield server


def test_redis_answers(redis_url: str) -> None:
    """The Redis fixture is a server that takes a key."""
    with redis.Redis.from_url(redis_url) as client:
        assert client.set("key", "value")
        assert client.get("key") == b"value"


def test_redis_is_empty_for_each_test(redis_url: str) -> None:
    """What an earlier test wrote is gone."""
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_valkey_answers(valkey_url: str, valkey_server: RedisServer) -> None:
    """The Valkey fixture is a Valkey and takes a key."""
    with redis.Redis.from_url(valkey_url) as client:
        assert client.set("key", "value")
    assert "valkey_version" in valkey_server.ask("INFO", "SERVER")


def test_a_unix_socket_answers(redis_server: RedisServer) -> None:
    """Every Redis also listens on a unix socket."""
    with redis.Redis.from_url(redis_server.unix_url) as client:
        assert client.ping()


def test_tls_is_verified(redis_tls_server: RedisServer) -> None:
    """The TLS server proves itself with its certificate, and a client without it refuses."""
    assert redis_tls_server.answers()
    stranger = redis.Redis(port=redis_tls_server.port, ssl=True, retry=Retry(NoBackoff(), 0))
    with stranger, pytest.raises(redis.ConnectionError, match="certificate"):
        stranger.ping()


def test_a_password_is_asked_for() -> None:
    """A server with a password answers with it, and refuses without."""
    missing.require(REDIS)
    with RedisServer(password="secret") as server:
        assert server.answers()
        server.password = None
        with server.client() as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()


def test_a_paused_server_answers_again_when_resumed(own_redis: RedisServer) -> None:
    """A paused server is alive and mute; resumed, it answers."""
    own_redis.pause()
    with own_redis.client(socket_timeout=0.2) as client, pytest.raises(redis.TimeoutError):
        client.ping()
    assert own_redis.is_alive()
    own_redis.resume()
    assert own_redis.answers()


def test_a_restart_keeps_port_and_data(own_redis: RedisServer) -> None:
    """A restarted server is a new process on the same port with the same data."""
    port, pid = own_redis.port, own_redis.pid
    own_redis.ask("SET", "key", "value")
    own_redis.restart()
    assert own_redis.port == port
    assert own_redis.pid != pid
    assert own_redis.ask("GET", "key") == "value"


def test_heal_undoes_a_kill_and_a_pause(own_redis: RedisServer) -> None:
    """After heal a killed server answers, a paused one too, and a sound one is left alone."""
    own_redis.kill()
    assert own_redis.heal()
    own_redis.pause()
    assert own_redis.heal()
    assert own_redis.answers()
    assert not own_redis.heal()


def test_close_leaves_nothing(own_redis: RedisServer) -> None:
    """A closed server has no process and no directory."""
    own_redis.close()
    assert not own_redis.is_alive()
    assert not own_redis.directory.exists()


def test_a_paused_server_can_be_stopped(own_redis: RedisServer) -> None:
    """A paused server ends well when it is asked to; it need not be killed."""
    own_redis.pause()
    own_redis.stop()
    assert own_redis._process is not None
    assert own_redis._process.returncode == 0


def test_a_mute_server_is_given_up_with_its_log() -> None:
    """A server that never answers is killed, and the error says what was waited for and how its log ends."""
    server = _Mute()
    with pytest.raises(TimeoutError, match=r"waited 0.2 s for _Mute on port \d+ to answer(?s:.*)thinking"):
        server.start()
    assert not server.is_alive()
    server.close()


def test_a_server_that_ends_at_once_is_reported_at_once() -> None:
    """A server that ended is not waited for, and the error shows its log."""
    server = _Stillborn()
    with pytest.raises(RuntimeError, match=r"ended before it answered(?s:.*)no such option"):
        server.start()
    server.close()


def test_a_server_is_started_from_the_main_thread_only(own_redis: RedisServer) -> None:
    """A start from another thread is refused, because the server would end with that thread."""
    own_redis.stop()
    refused: list[Exception] = []

    def start() -> None:
        try:
            own_redis.start()
        except RuntimeError as error:
            refused.append(error)

    other = threading.Thread(target=start)
    other.start()
    other.join()
    assert "main thread" in str(refused[0])


_A_RUN_THAT_DIES = """
import os, signal
from tests.servers.redis import RedisServer
server = RedisServer()
server.start()
print(server.pid, server.directory, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_server_does_not_outlive_a_killed_run() -> None:
    """When the test run is killed, the kernel ends its servers."""
    if sys.platform != "linux":
        pytest.skip("only Linux ends a process together with another")
    missing.require(REDIS)
    run = subprocess.run([sys.executable, "-c", _A_RUN_THAT_DIES], capture_output=True, text=True, check=False)
    pid, directory = run.stdout.split()
    shutil.rmtree(directory)
    wait_until(lambda: _is_gone(int(pid)), f"process {pid} to end with the run that started it")


def _is_gone(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return not state.strip() or state.startswith("Z")
