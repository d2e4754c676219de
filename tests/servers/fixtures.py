"""The servers as fixtures: each started on first use, healed after each test, gone at the end of the session."""

from __future__ import annotations

import contextlib
import gc
import uuid
from typing import TYPE_CHECKING, Protocol, TypeVar

import pytest

from tests.servers.chromium import Chromium
from tests.servers.etcd import EtcdCluster, EtcdServer
from tests.servers.mariadb import MariaServer
from tests.servers.missing import in_ci, require, table
from tests.servers.mysql import MySqlServer
from tests.servers.postgres import PostgresServer
from tests.servers.programs import (
    CHROMIUM,
    EPMD,
    ETCD,
    INITDB,
    JAVA,
    MARIADB,
    MARIADB_INSTALL,
    MYSQL,
    OPENSSL,
    POSTGRES,
    RABBITMQ,
    REDIS,
    VALKEY,
    ZOOKEEPER,
)
from tests.servers.proxy import Proxy
from tests.servers.rabbitmq import RabbitServer
from tests.servers.redis import RedisServer
from tests.servers.redis_groups import RedisCluster, SentinelGroup
from tests.servers.redlock import RedlockNodes
from tests.servers.zookeeper import ZooKeeperEnsemble, ZooKeeperServer

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator


class _Server(Protocol):
    def start(self) -> None: ...
    def heal(self) -> bool: ...
    def close(self) -> None: ...


S = TypeVar("S", bound=_Server)
_running: list[_Server] = []


def _running_for_the_session(server: S) -> Iterator[S]:
    try:
        server.start()
        _running.append(server)
        yield server
    finally:
        with contextlib.suppress(ValueError):
            _running.remove(server)
        # A forgotten AsyncResult unsubscribes when it is collected; after the server's end, each tries that for 20 s.
        gc.collect()
        server.close()


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis."""
    require(REDIS)
    yield from _running_for_the_session(RedisServer())


@pytest.fixture(scope="session")
def chromium() -> Iterator[Chromium]:
    """One browser."""
    require(CHROMIUM)
    yield from _running_for_the_session(Chromium())


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[RedisServer]:
    """One Valkey."""
    require(VALKEY)
    yield from _running_for_the_session(RedisServer(VALKEY))


@pytest.fixture(scope="session")
def redis_tls_server() -> Iterator[RedisServer]:
    """One Redis that speaks TLS only, with a certificate of its own."""
    require(REDIS, OPENSSL)
    yield from _running_for_the_session(RedisServer(tls=True))


@pytest.fixture(scope="session")
def sentinel_group() -> Iterator[SentinelGroup]:
    """A master, a replica, three sentinels."""
    require(REDIS)
    yield from _running_for_the_session(SentinelGroup())


@pytest.fixture(scope="session")
def redis_cluster() -> Iterator[RedisCluster]:
    """Three masters that share the slots."""
    require(REDIS)
    yield from _running_for_the_session(RedisCluster())


@pytest.fixture(scope="session")
def redlock_nodes() -> Iterator[RedlockNodes]:
    """Five Redis that know nothing of each other."""
    require(REDIS)
    yield from _running_for_the_session(RedlockNodes())


@pytest.fixture(scope="session")
def spared_cluster() -> Iterator[RedisCluster]:
    """Three masters with a replica of the first. The others go on when one is away."""
    require(REDIS)
    yield from _running_for_the_session(RedisCluster(spares=1, cluster_require_full_coverage="no"))


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitServer]:
    """One RabbitMQ."""
    require(RABBITMQ, EPMD)
    yield from _running_for_the_session(RabbitServer())


@pytest.fixture(scope="session")
def etcd_server() -> Iterator[EtcdServer]:
    """One etcd."""
    require(ETCD)
    yield from _running_for_the_session(EtcdServer())


@pytest.fixture(scope="session")
def etcd_tls_server() -> Iterator[EtcdServer]:
    """One etcd that speaks TLS only, with a certificate of its own."""
    require(ETCD, OPENSSL)
    yield from _running_for_the_session(EtcdServer(tls=True))


@pytest.fixture(scope="session")
def etcd_cluster() -> Iterator[EtcdCluster]:
    """Three etcds that elect a leader."""
    require(ETCD)
    yield from _running_for_the_session(EtcdCluster())


@pytest.fixture
def etcd_url(etcd_server: EtcdServer) -> str:
    """An empty etcd."""
    etcd_server.flush()
    return etcd_server.url


@pytest.fixture(scope="session")
def zookeeper_server() -> Iterator[ZooKeeperServer]:
    """One ZooKeeper."""
    require(ZOOKEEPER, JAVA)
    yield from _running_for_the_session(ZooKeeperServer())


@pytest.fixture(scope="session")
def zookeeper_ensemble() -> Iterator[ZooKeeperEnsemble]:
    """Three ZooKeepers, one of which leads."""
    require(ZOOKEEPER, JAVA)
    yield from _running_for_the_session(ZooKeeperEnsemble())


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One Postgres."""
    require(POSTGRES, INITDB)
    yield from _running_for_the_session(PostgresServer())


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[MariaServer]:
    """One MariaDB, or the MySQL that is asked for."""
    if MYSQL.home:
        require(MYSQL)
        yield from _running_for_the_session(MySqlServer())
    else:
        require(MARIADB, MARIADB_INSTALL)
        yield from _running_for_the_session(MariaServer())


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """An empty Redis."""
    redis_server.flush()
    return redis_server.url


@pytest.fixture
def valkey_url(valkey_server: RedisServer) -> str:
    """An empty Valkey."""
    valkey_server.flush()
    return valkey_server.url


@pytest.fixture
def redlock_url(redlock_nodes: RedlockNodes) -> str:
    """Five empty Redis."""
    redlock_nodes.flush()
    return redlock_nodes.url


@pytest.fixture
def rabbitmq_url(rabbitmq_server: RabbitServer) -> Iterator[str]:
    """A virtual host of its own."""
    with rabbitmq_server.vhost() as url:
        yield url


@pytest.fixture
def zookeeper_url(zookeeper_server: ZooKeeperServer) -> str:
    """A chroot of its own, and sessions that do not last long."""
    return f"{zookeeper_server.url}/tests/{uuid.uuid4().hex}?session_timeout=3"


@pytest.fixture
def zookeeper_ensemble_url(zookeeper_ensemble: ZooKeeperEnsemble) -> str:
    """The same in an ensemble."""
    return f"{zookeeper_ensemble.url}/tests/{uuid.uuid4().hex}?session_timeout=3"


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A database of its own, as postgresql://..."""
    with postgres_server.database() as url:
        yield url


@pytest.fixture
def mariadb_url(mariadb_server: MariaServer) -> Iterator[str]:
    """A database of its own, as mysql://..."""
    with mariadb_server.database() as url:
        yield url


@pytest.fixture
def proxy() -> Iterator[Callable[[str], Proxy]]:
    """Puts a proxy in front of the server of each URL it is given. The client then uses the proxy's `url`."""
    with contextlib.ExitStack() as proxies:
        yield lambda url: proxies.enter_context(Proxy(url))


@pytest.fixture(autouse=True)
def _healed_servers() -> Iterator[None]:
    """A test that kills or pauses a server need not mend it."""
    yield
    for server in _running:
        server.heal()


R = TypeVar("R", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI no test is skipped: a skip is a failure that gives its reason."""
    return _unskipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Nor is a whole module."""
    return _unskipped((yield))


def _unskipped(report: R) -> R:
    if in_ci() and report.skipped and not hasattr(report, "wasxfail"):
        report.longrepr = f"skipped, which CI does not allow: {_reason(report)}"
        report.outcome = "failed"
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    return report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Close with the servers that were missing."""
    lines = list(table([_reason(report) for report in terminalreporter.stats.get("skipped", [])]))
    if lines:
        terminalreporter.section("missing servers")
        for line in lines:
            terminalreporter.write_line(line)
