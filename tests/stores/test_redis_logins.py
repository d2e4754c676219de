"""Passwords and rights: what is missing is said, what is secret is not."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Lease, Verdict
from celery_locks.stores import open_store
from celery_locks.stores.redis.mending import RIGHTS
from tests.servers.redis import RedisServer
from tests.stores.contract.asking import claim, refused, take
from tests.stores.redis_sayings import SECRET, is_one_clean_line, unclosed
from tests.stores.redis_stores import cluster_url, give_up, opened, sentinel_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery_locks.stores.redis import RedisStore
    from tests.servers.redis_groups import RedisCluster, SentinelGroup


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisServer]:
    """A server with a password, and users who may do less and more."""
    with RedisServer(password=SECRET) as server:
        server.ask(*_documented())
        server.ask("ACL", "SETUSER", "reader", "on", ">enough", "~*", "+get", "+ping")
        server.ask("ACL", "SETUSER", "runner", "on", ">enough", "~*", "+eval", "+evalsha")
        server.ask("ACL", "SETUSER", "stranger", "on", ">enough", "~other:*", "+@all")
        yield server


LOGINS = {
    "": "wants a password: write redis://:password@host",
    ":wr0ng@": "password is wrong",
    "nobody:wr0ng@": "password is wrong",
    "reader:enough@": "this user may not do that: give it \\+eval",
    "stranger:enough@": "this user may not do that",
    "runner:enough@": "this user may not do that: give it \\+eval",
}


@pytest.mark.parametrize(("login", "said"), LOGINS.items())
def test_a_login_that_does_not_do_is_said(guarded: RedisServer, login: str, said: str) -> None:
    """Each is an outage, not a lock, and what was wrong is said without the password."""
    with contextlib.closing(open_store(f"redis://{login}127.0.0.1:{guarded.port}/0")) as store:
        with pytest.raises(StoreUnavailable, match=said) as caught:
            store.acquire(claim("wallet"))
        is_one_clean_line(caught.value, "wr0ng", "enough")
    assert guarded.ask("KEYS", "*") == []


def test_a_password_is_percent_decoded(guarded: RedisServer) -> None:
    """What had to be encoded in a URL reaches the server as it is."""
    guarded.ask("ACL", "SETUSER", "odd@user", "on", ">p/?#@:% ss", "~*", "+@all")
    url = f"redis://odd%40user:p%2F%3F%23%40%3A%25%20ss@127.0.0.1:{guarded.port}/0"
    with contextlib.closing(open_store(url)) as store:
        take(store, "wallet")
        assert store.release(claim("wallet"))
    guarded.flush()


def test_a_password_may_be_asked_for_in_the_query(guarded: RedisServer, tmp_path: Path) -> None:
    """unix:///path?password=... as redis-py has it; it is shown nowhere."""
    with contextlib.closing(open_store(f"unix://{guarded.socket}?password={SECRET}")) as store:
        take(store, "wallet")
        assert store.release(claim("wallet"))
    guarded.flush()
    with unclosed(), contextlib.closing(open_store(f"unix://{tmp_path}/none.sock?password={SECRET}")) as store:
        with pytest.raises(StoreUnavailable) as caught:
            store.acquire(claim("wallet"))
        is_one_clean_line(caught.value)


def test_a_password_where_none_is_wanted_is_said(redis_server: RedisServer) -> None:
    """A server without a password is told one."""
    with contextlib.closing(open_store(f"redis://:{SECRET}@127.0.0.1:{redis_server.port}/0")) as store:
        with pytest.raises(StoreUnavailable, match="wants no password") as caught:
            store.acquire(claim("wallet"))
        is_one_clean_line(caught.value)


def test_the_rights_that_are_documented_are_those_that_are_asked_for() -> None:
    """The page and the message of an error name the same."""
    assert " ".join(_documented()[7:]) == RIGHTS


def test_the_documented_rights_are_enough(guarded: RedisServer) -> None:
    """A user made as the page says can do all there is to do."""
    with opened(f"redis://locks:password@127.0.0.1:{guarded.port}/0") as store:
        assert _does_everything(store, lambda: guarded.ask("SCRIPT", "FLUSH"))
        lease = take(store, "wallet")
        guarded.ask("CONFIG", "SET", "maxmemory", 1)
        assert store.release(lease.claim)
        guarded.ask("CONFIG", "SET", "maxmemory", 0)
    guarded.flush()


def test_the_documented_rights_for_settings_are_enough(guarded: RedisServer) -> None:
    """Another database, a client's name and a check of idle connections each need one right more."""
    guarded.ask(*_documented("some"), "+select", "+client|setname", "+ping")
    url = f"redis://some:password@127.0.0.1:{guarded.port}/3?client_name=bank&health_check_interval=1"
    with opened(url) as store:
        assert _does_everything(store)
    with (
        pytest.raises(StoreUnavailable, match="this user may not do that"),
        opened(url.replace("some", "locks")) as store,
    ):
        store.acquire(claim("wallet"))
    guarded.flush()


def test_the_documented_rights_in_a_cluster_are_enough(redis_cluster: RedisCluster) -> None:
    """A user of every node may look up the nodes as well."""
    redis_cluster.flush()
    for node in redis_cluster.nodes:
        node.ask(*_documented(), "+cluster|slots", "+command", "+asking")
    with opened(cluster_url(redis_cluster).replace("://", "://locks:password@")) as store:
        assert _does_everything(store, lambda: [node.ask("SCRIPT", "FLUSH") for node in redis_cluster.nodes])
    for node in redis_cluster.nodes:
        node.ask("ACL", "DELUSER", "locks")


def test_the_documented_rights_at_sentinels_are_enough(sentinel_group: SentinelGroup) -> None:
    """Whoever may ask a Sentinel for its masters finds the one."""
    sentinel_group.flush()
    sentinel_group.master.ask(*_documented())
    for sentinel in sentinel_group.sentinels:
        sentinel.ask("ACL", "SETUSER", "looker", "on", ">enough", "+sentinel|masters")
    login = "?sentinel_username=looker&sentinel_password=enough"
    with opened(sentinel_url(sentinel_group).replace("://", "://locks:password@") + login) as store:
        assert _does_everything(store)
    for sentinel in sentinel_group.sentinels:
        sentinel.ask("ACL", "DELUSER", "looker")
    sentinel_group.master.ask("ACL", "DELUSER", "locks")


def _documented(user: str = "locks") -> list[str]:
    page = (Path(__file__).parents[2] / "docs" / "stores" / "redis.md").read_text()
    line = next(line for line in page.splitlines() if "ACL SETUSER" in line)
    return [user if word == "locks" else word for word in line.split()]


def _does_everything(store: RedisStore, between: Callable[[], object] = lambda: None) -> bool:
    """Whether all that is asked of a store is allowed; what is not raises, with what the server said."""
    leases = [take(store, f"wallet {number}") for number in range(20)]
    between()
    assert store.renew(leases) == [Verdict.RENEWED] * 20
    assert refused(store, "wallet 0", "ben").holder == "anna"
    assert store.inspect("wallet 0") is not None
    assert len(list(store.list())) == 20
    _is_asked_besides(store)
    assert all(store.release(lease.claim) for lease in leases[1:])
    assert store.force_release("wallet 0")
    give_up(store, "cleo")
    return list(store.list()) == []


def _is_asked_besides(store: RedisStore) -> None:
    """What workflows, jobs that are sent once, those for several keys, beats, and operators ask for."""
    assert isinstance(store.acquire(claim("wallet 1", "anna")._replace(after="anna")), Lease)
    store.note("done", 30)
    assert store.is_noted("done")
    assert store.take_up("proj", 7) is not None
    assert store.put("proj", 7, 1, {"report": "position"})
    store.set_slots("wallet 0", 3)
    assert store.slots("wallet 0") == 3
    assert store.waiting(["wallet 0"]) == [len(store.line("wallet 0"))]
    counted = [tally.key for tally in store.most_contended()]
    assert [each.asker for each in store.conflicts("wallet 0")] == ["ben" for key in counted if key == "wallet 0"]
    assert not store.evict("wallet 0", 1)
