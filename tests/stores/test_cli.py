"""The command line against every store."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from celery_locks.lease import Busy, Verdict, new_owner
from celery_locks.stores import hidden, open_store
from celery_locks.stores.base import Crowds
from celery_locks.stores.operations import Remembers, Tables
from tests.commands import celery_locks
from tests.stores.contract import claim, take, verdict
from tests.stores.redis_stores import cluster_url
from tests.stores.session_stores import without_tls

if TYPE_CHECKING:
    from pathlib import Path

    from celery_locks.stores import Store
    from tests.servers.redis import RedisServer

#: A fixture each, and how its URL is written for a store.
SERVED = {
    "redis": ("redis_url", "{}"),
    "redlock": ("redlock_url", "{}"),
    "postgres": ("postgres_url", "sql+{}"),
    "mariadb": ("mariadb_url", "sql+{}?ssl_disabled=true"),
    "etcd": ("etcd_url", "{}"),
    "zookeeper": ("zookeeper_url", "{}"),
}
#: Where nothing listens, with a password.
NOWHERE = [
    "redis://:secret@127.0.0.1:1/0",
    "redlock://:secret@127.0.0.1:1,127.0.0.1:2,127.0.0.1:3",
    "sql+postgresql://me:secret@127.0.0.1:1/bank",
    "sql+mysql://me:secret@127.0.0.1:1/bank",
    "postgresql+advisory://me:secret@127.0.0.1:1/bank",
    "mysql+getlock://me:secret@127.0.0.1:1/bank",
    "etcd://me:secret@127.0.0.1:1",
]


@pytest.fixture(params=["memory", "file", "sqlite", "cluster", "advisory", "getlock", *SERVED])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each store, empty."""
    match request.param:
        case "memory":
            return f"memory://{uuid.uuid4().hex}"
        case "file":
            return f"file://{tmp_path}/locks"
        case "sqlite":
            return f"sql+sqlite:///{tmp_path}/locks.db"
        case "cluster":
            cluster = request.getfixturevalue("redis_cluster")
            cluster.flush()
            return cluster_url(cluster)
        case "advisory" | "getlock":
            return without_tls(request.getfixturevalue(f"{request.param}_database").url)
    fixture, form = SERVED[request.param]
    return form.format(request.getfixturevalue(fixture))


def test_every_verb_works_with_every_store(url: str) -> None:
    """It is made ready, shows what is held, frees it from the holder that is meant alone, and is cleaned."""

    def ask(*words: object) -> tuple[int, list[Any]]:
        ended = celery_locks(url, *words, "--json")
        assert not [line for line in ended.err.splitlines() if not line.startswith("Note: ")], ended.err
        return ended.code, ended.said

    assert ask("init")[0] == 0
    assert ask("list") == (0, [])
    with contextlib.closing(open_store(url)) as store:
        owner = new_owner("shop.withdraw[6b1c]")
        lease = take(store, "wallet:42", owner)
        code, [shown] = ask("list", "wallet:*")
        assert (code, shown["key"], shown["owner"], shown["fence"]) == (0, "wallet:42", owner, lease.fence)
        assert (shown["task"], shown["task_id"]) == ("shop.withdraw", "6b1c")
        assert (shown["age"] is None) == (not store.fence_is_time)
        assert shown["age"] is None or shown["age"] < 60
        code, [row] = ask("top", "wallet:*")
        assert (code, row["fence"], row["waiting"]) == (0, lease.fence, shown["waiting"])
        assert row["conflicts"] == (0 if isinstance(store, Remembers) else None)
        found = celery_locks(url, "doctor", "--json")
        # A test's servers keep nothing over a restart, and one process' memory is no store for several.
        assert {said["code"] for said in found.said} <= {"CL202"}
        assert found.code == (1 if found.said else 0)
        code, [key] = ask("show", "wallet:42")
        assert (code, key["held"], key["holders"][0]["owner"]) == (0, True, owner)

        assert isinstance(store.acquire(claim("wallet:42", "ben")), Busy)
        code, [key] = ask("show", "wallet:42")
        conflicts_are_told(url, store, key["conflicts"], owner)

        assert ask("release", "wallet:42", "--force", "--if-fence", lease.fence + 1)[0] == 1
        assert verdict(store, lease) is Verdict.RENEWED
        code, [freed] = ask("release", "wallet:42", "--force", "--if-fence", lease.fence)
        assert (code, freed["released"][0]["owner"]) == (0, owner)
        assert verdict(store, lease) is Verdict.LOST
        assert ask("show", "wallet:42")[0] == ask("release", "wallet:42", "--force")[0] == 1
        take(store, "wallet:42", "ben")
        assert ask("release", "wallet:42", "--force")[0] == 0
        assert not store.release(claim("wallet:42", "ben"))

        assert ask("purge") == (0, [{"store": hidden(url)[1:-1], "purged": 0}])
        if isinstance(store, Crowds):
            assert ask("slots", "api", 3) == (0, [{"key": "api", "slots": 3, "held": 0}])
            assert ask("slots", "api", "--unset") == (0, [{"key": "api", "slots": None, "held": 0}])
        else:
            assert celery_locks(url, "slots", "api").code == 4
        assert (celery_locks(url, "init", "--ddl").code == 0) == isinstance(store, Tables)


def conflicts_are_told(url: str, store: Store, shown: list[dict[str, Any]] | None, holder: str) -> None:
    """The one that was, by `stats` and `show`; or what is not remembered, and why."""
    told = celery_locks(url, "stats", "--json")
    if isinstance(store, Remembers) and store.unseen:
        assert (told.code, store.unseen in told.err) == (0, True)
    elif isinstance(store, Remembers):
        assert (told.code, [(said["key"], said["conflicts"]) for said in told.said]) == (0, [("wallet:42", 1)])
        assert [(each["asker"], each["holder"]) for each in shown or ()] == [("ben", holder)]
    else:
        assert (told.code, told.said, "remember" in told.err) == (4, [], True)
        assert shown is None


@pytest.mark.parametrize("url", NOWHERE, ids=lambda url: url.partition(":")[0])
def test_a_store_that_cannot_be_reached_is_told_from_a_free_key(url: str) -> None:
    """Exit code 3, one line that says where, and no password."""
    ended = celery_locks(url, "show", "wallet:42")
    assert (ended.code, ended.out, len(ended.err.splitlines())) == (3, "", 1)
    assert "127.0.0.1:1" in ended.err
    assert "secret" not in ended.err


def test_no_command_asks_redis_for_all_its_keys_at_once(redis_server: RedisServer) -> None:
    """KEYS holds up everybody while it runs: what lists keys does it a page at a time."""
    with contextlib.closing(open_store(redis_server.url)) as store:
        take(store, "wallet:42", new_owner("shop.withdraw[6b1c]"))
        redis_server.ask("CONFIG", "RESETSTAT")
        for words in (
            ["list"],
            ["show", "wallet:42"],
            ["top", "--once"],
            ["stats"],
            ["release", "wallet:42", "--force"],
        ):
            assert celery_locks(redis_server.url, *words).code == 0, words
    celery_locks(redis_server.url, "doctor")
    asked = redis_server.ask("INFO", "commandstats")
    assert "cmdstat_scan" in asked
    assert "cmdstat_keys" not in asked
