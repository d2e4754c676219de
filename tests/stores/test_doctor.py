"""The doctor on real servers: each hazard is made, found, and gone when it is mended."""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING

import pytest

from celery_locks import doctor
from celery_locks.doctor.ward import Locked, StoreCase
from celery_locks.stores import open_store
from tests.commands import celery_locks
from tests.servers.missing import require
from tests.servers.pgbouncer import PgBouncerServer
from tests.servers.process import HOST
from tests.servers.programs import PGBOUNCER
from tests.servers.redlock import redlock_url
from tests.stores.contract import take
from tests.stores.redis_stores import FENCE, cluster_url
from tests.stores.session_stores import without_tls
from tests.unit.bank import task, withdraw
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.doctor import Finding
    from tests.servers.postgres import PostgresServer
    from tests.servers.proxy import Proxy
    from tests.servers.redis import RedisServer
    from tests.servers.redis_groups import RedisCluster
    from tests.stores.session_stores import Database

FAR = 10**10


def findings(url: str) -> list[Finding]:
    with contextlib.closing(open_store(url)) as store:
        return list(doctor.of_store(StoreCase("here", store)))


def codes(url: str) -> list[str]:
    return [finding.code for finding in findings(url)]


@contextlib.contextmanager
def configured(server: RedisServer, **config: object) -> Iterator[None]:
    """With these settings, and then as it was."""
    words = {name.replace("_", "-"): str(value) for name, value in config.items()}
    before = {name: server.ask("CONFIG", "GET", name)[name] for name in words}
    for name, value in words.items():
        server.ask("CONFIG", "SET", name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            server.ask("CONFIG", "SET", name, value)


@pytest.fixture
def url(redis_server: RedisServer, redis_url: str) -> Iterator[str]:
    """A Redis as it should be: what it is told it keeps."""
    with configured(redis_server, appendonly="yes"):
        yield redis_url


def test_a_redis_as_it_should_be(url: str) -> None:
    """No finding, with locks, lines and what Celery keeps there."""
    with contextlib.closing(open_store(url)) as store:
        take(store, "wallet")
        ended = celery_locks(url, "doctor")
    assert (ended.code, ended.out) == (0, "nothing is wrong\n")


def test_a_redis_that_evicts(url: str, redis_server: RedisServer) -> None:
    """Once it has a limit: a policy that never applies does no harm."""
    with configured(redis_server, maxmemory_policy="allkeys-lru"):
        assert codes(url) == []
        with configured(redis_server, maxmemory="100mb"):
            [finding] = findings(url)
    assert (finding.code, "allkeys-lru" in finding.what) == ("CL201", True)


def test_a_redis_that_keeps_nothing(redis_server: RedisServer, redis_url: str) -> None:
    """A warning without any persistence, a note where only snapshots are saved."""
    assert [(each.code, each.severity) for each in findings(redis_url)] == [("CL202", "warning")]
    with configured(redis_server, save="3600 1"):
        assert [(each.code, each.severity) for each in findings(redis_url)] == [("CL202", "note")]


def test_a_replica_that_is_not_in_sync(url: str, redis_server: RedisServer) -> None:
    """It has connected, and waits for its first copy."""
    with (
        configured(redis_server, repl_diskless_sync="yes", repl_diskless_sync_delay="3600"),
        socket.create_connection((HOST, redis_server.port), timeout=10) as replica,
    ):
        # Only one that can take a copy without a file is kept waiting for the delay.
        replica.sendall(b"REPLCONF capa eof capa psync2\r\n")
        assert replica.recv(100) == b"+OK\r\n"
        replica.sendall(b"PSYNC ? -1\r\n")
        wait_until(lambda: redis_server.ask("INFO", "replication")["connected_slaves"] == 1, "the replica to be seen")
        [finding] = findings(url)
    assert (finding.code, "wait_bgsave" in finding.what) == ("CL203", True)
    wait_until(lambda: redis_server.ask("INFO", "replication")["connected_slaves"] == 0, "the replica to be gone")
    assert codes(url) == []


def test_a_store_that_is_too_far_for_a_ttl(url: str, proxy: Callable[[str], Proxy]) -> None:
    """Over a way on which a round trip takes two fifths of a second; on one as short as ever nothing is wrong."""
    made = task(withdraw, lock_ttl=1.0)._get_current_object()
    far = proxy(url)
    found = []
    for delay in (0, 0.2):
        far.delay(delay)
        with contextlib.closing(open_store(far.url)) as store:
            found += [list(doctor.of_store(StoreCase("far", store, [Locked(made, made._plan)])))]
    [none, [finding]] = found
    assert (none, finding.code, finding.what.endswith(": bank.withdraw")) == ([], "CL002", True)


def test_a_cache_of_django_beside_the_locks(url: str) -> None:
    """Once it has something; and not while it has another database of that server."""
    from django.core.cache.backends.redis import RedisCache  # noqa: PLC0415 - not every machine has it

    RedisCache(f"{url[:-1]}1", {}).set("session", "somebody")
    try:
        assert codes(url) == []
        RedisCache(url, {}).set("session", "somebody")
        assert codes(url) == ["CL205"]
    finally:
        RedisCache(f"{url[:-1]}1", {}).clear()


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (":1:session", ["CL205"]),
        ("shop:2:page", ["CL205"]),
        ("something", ["CL206"]),
        ("celery-task-meta-6b1c", []),
        ("_kombu.binding.celery", []),
        ("rq:job:6b1c", []),
        ("rqueue", ["CL206"]),
        ("celery\x06\x163", []),
    ],
)
def test_a_redis_that_is_shared(url: str, redis_server: RedisServer, name: str, found: list[str]) -> None:
    """With a cache of Django, with something unknown; what Celery and RQ keep there is known."""
    redis_server.ask("SET", name, 1)
    told = findings(url)
    assert [each.code for each in told] == found
    # The tests empty that server all the time.
    assert all("were emptied" in each.what for each in told)


def test_a_server_whose_clock_was_set_back(url: str, redis_server: RedisServer, postgres_url: str) -> None:
    """The fence of a key that was taken before is newer than its clock: of Redis, and of a database."""
    redis_server.ask("SET", FENCE, f"{int(time.time() * 1e6) + FAR}:")
    with contextlib.closing(open_store(url)) as store:
        take(store, "wallet")
    assert codes(url) == ["CL003"]

    import psycopg  # noqa: PLC0415 - not every machine has it

    with contextlib.closing(open_store(f"sql+{postgres_url}")) as store:
        take(store, "wallet", ttl=600)
        assert codes(f"sql+{postgres_url}") == []
        with psycopg.connect(postgres_url) as connection:
            connection.execute(f"UPDATE celery_locks SET fence = fence + {FAR}")
        assert codes(f"sql+{postgres_url}") == ["CL003"]


def test_what_a_user_may_not_ask_is_said_once(url: str, redis_server: RedisServer) -> None:
    """The rest is looked at; and who may see the state alone is told what that shows."""
    known = "-@all +eval +evalsha +get +pttl +time +scan"
    redis_server.ask("ACL", "SETUSER", "plain", "on", ">enough", "~lock:*", *known.split())
    limited = url.replace("://", "://plain:enough@")
    try:
        redis_server.ask("SET", ":1:session", 1)
        [silent] = findings(limited)
        redis_server.ask("ACL", "SETUSER", "plain", "+info")
        assert codes(limited) == ["CL205"]
    finally:
        redis_server.ask("ACL", "DELUSER", "plain")
    assert (silent.code, silent.severity) == ("CL000", "note")
    assert silent.what.startswith("here: not looked for: eviction, no persistence, replicas behind")


def test_each_master_of_a_cluster_is_examined(redis_cluster: RedisCluster) -> None:
    """By its own name."""
    told = [each.what for each in findings(cluster_url(redis_cluster)) if each.code == "CL202"]
    assert {what.split()[0] for what in told} == {f"{HOST}:{master.port}" for master in redis_cluster.masters}


def test_redlock_with_an_even_number_of_nodes(five_nodes: list[RedisServer]) -> None:
    """Four bear the loss of one, as three do."""
    ports = [node.port for node in five_nodes]
    assert "CL401" not in codes(redlock_url(ports[:3]))
    assert [each.mend for each in findings(redlock_url(ports[:4])) if each.code == "CL401"] == ["name 3 or 5 nodes"]


def test_redlock_whose_nodes_are_one_another(three_nodes: list[RedisServer], proxy: Callable[[str], Proxy]) -> None:
    """A server under two names, and one that follows another."""
    one, two, three = three_nodes
    assert "CL402" not in codes(redlock_url([one.port, two.port, three.port]))
    twice = findings(redlock_url([one.port, two.port, proxy(one.url).port]))
    assert [f"{one.port}" in each.what for each in twice if each.code == "CL402"] == [True]
    two.ask("REPLICAOF", HOST, one.port)
    try:
        [told] = [each for each in findings(redlock_url([one.port, two.port, three.port])) if each.code == "CL402"]
        alone = {each.code: each for each in findings(two.url)}
    finally:
        two.ask("REPLICAOF", "NO", "ONE")
    assert told.what == f"here: {HOST}:{two.port} follows another server"
    # And by itself, as a store of one server.
    assert alone["CL204"].mend.startswith(f"name the master, {HOST}:{one.port}, or")


def test_redlock_with_a_node_that_is_away(three_nodes: list[RedisServer]) -> None:
    """The others are examined nevertheless."""
    ports = [node.port for node in three_nodes[:2]]
    told = findings(redlock_url([*ports, 1]))
    assert [each.code for each in told] == ["CL202", "CL202", "CL403"]
    assert f"{HOST}:1" in told[-1].what


def test_a_pooler_that_shares_its_sessions(postgres_server: PostgresServer, advisory_database: Database) -> None:
    """Not a store that is merely away: what to change in its settings is said."""
    require(PGBOUNCER)
    name = advisory_database.url.rpartition("/")[2]
    with PgBouncerServer(postgres_server, "transaction") as pool:
        assert codes(pool.url(name).replace("postgresql://", "postgresql+advisory://")) == ["CL301"]
    assert codes(advisory_database.url) == []


def test_the_other_stores_have_no_finding(mariadb_url: str, etcd_url: str, getlock_database: Database) -> None:
    """As they are here."""
    for url in (f"sql+{without_tls(mariadb_url)}", etcd_url, without_tls(getlock_database.url)):
        assert codes(url) == []
