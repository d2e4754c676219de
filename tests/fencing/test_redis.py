"""What the guard for Redis writes, refuses, and leaves as it was."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
import redis
import redis.asyncio
import valkey

from celery_locks import LockConfigError, LockError, LockLost, LockNotOwned, Locks, StaleFence
from celery_locks.fencing.redis import Fenced
from tests.fencing.leases import joint_lease_of, lease_of, separate_leases_of

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = 2**63 - 1


def _client(kind: str, request: pytest.FixtureRequest) -> Any:
    if kind == "cluster":
        cluster = request.getfixturevalue("redis_cluster")
        cluster.flush()
        return redis.RedisCluster(*cluster.addresses[0])
    if kind == "sentinel":
        group = request.getfixturevalue("sentinel_group")
        group.master.flush()
        return redis.Sentinel(group.addresses).master_for(group.service)
    if kind == "valkey":
        return valkey.Valkey.from_url(request.getfixturevalue("valkey_url").replace("redis://", "valkey://"))
    protocol = {"resp2": 2, "resp3": 3}[kind]
    return redis.Redis.from_url(request.getfixturevalue("redis_url"), protocol=protocol, decode_responses=protocol == 3)


@pytest.fixture(params=["resp2", "resp3", "valkey", "sentinel", "cluster"])
def any_client(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Each kind of client that a user may have."""
    with contextlib.closing(_client(request.param, request)) as client:
        yield client


def _texts(answer: Any) -> Any:
    if isinstance(answer, dict):
        return {_texts(name): _texts(value) for name, value in answer.items()}
    return answer.decode() if isinstance(answer, bytes) else answer


def test_each_write_is_done_and_each_read_reads(any_client: Any) -> None:
    """With every client: what is written is there, with its fence, and what is read is what is there."""
    guard, lease = Fenced(any_client), lease_of(7)
    guard.set("wallet:1", "3.50", lease=lease)
    assert _texts(guard.get("wallet:1", lease=lease)) == "3.50"
    assert guard.hset("user:1", {"name": "Anna", "age": 7}, lease=lease) == 2
    assert guard.hset("user:1", {"age": 8}, lease=lease) == 0
    assert _texts(guard.hgetall("user:1", lease=lease)) == {"name": "Anna", "age": "8"}
    assert [guard.incr("count", lease=lease), guard.incr("count", -3, lease=lease)] == [1, -2]
    assert guard.delete("count", lease=lease)
    assert not guard.delete("count", lease=lease)
    assert guard.get("count", lease=lease) is None
    assert _texts(any_client.get("{wallet:1}:fence")) == "7::wallet"


def test_a_stale_write_is_refused_and_changes_nothing(any_client: Any) -> None:
    """With every client: neither the value nor the fence moves, and the error names both fences."""
    guard, stale = Fenced(any_client), lease_of(6)
    guard.set("wallet:1", "new", lease=lease_of(7))
    for write in (lambda: guard.set("wallet:1", "old", lease=stale), lambda: guard.delete("wallet:1", lease=stale)):
        with pytest.raises(StaleFence, match=r"'wallet:1' in Redis was not written: fence 6 of 'wallet'.*fence 7"):
            write()
    assert _texts(any_client.get("wallet:1")) == "new"
    assert _texts(any_client.get("{wallet:1}:fence")) == "7::wallet"


@pytest.mark.parametrize("stored", [2, 9, 10, 2**53, 2**53 + 1, LARGEST - 1, LARGEST])
def test_fences_are_compared_to_the_last_digit(guard: Fenced, stored: int) -> None:
    """Lower is refused, equal and higher is not: up to the largest, also where neighbours are one double."""
    guard.set("wallet:1", "first", lease=lease_of(stored))
    with pytest.raises(StaleFence):
        guard.set("wallet:1", "stale", lease=lease_of(stored - 1))
    guard.set("wallet:1", "equal", lease=lease_of(stored))
    if stored < LARGEST:
        guard.set("wallet:1", "higher", lease=lease_of(stored + 1))
        with pytest.raises(StaleFence):
            guard.set("wallet:1", "stale", lease=lease_of(stored))


def test_a_reader_claims_what_it_reads(client: redis.Redis, guard: Fenced) -> None:
    """Once a holder has read, the one before it can no longer write, though nothing was written since."""
    guard.set("wallet:1", 10, lease=lease_of(5))
    assert guard.get("wallet:1", lease=lease_of(6)) == "10"
    with pytest.raises(StaleFence):
        guard.set("wallet:1", 0, lease=lease_of(5))
    guard.hgetall("user:1", lease=lease_of(6))
    with pytest.raises(StaleFence, match="a claim on 'user:1'"):
        guard.hgetall("user:1", lease=lease_of(5))
    assert client.get("wallet:1") == "10"


def test_a_lease_of_another_key_is_refused_by_redis(client: redis.Redis, guard: Fenced) -> None:
    """Whichever fence is higher: they count different holders."""
    guard.set("wallet:1", "ours", lease=lease_of(5, "wallet:1"))
    for fence in (4, 5, 6):
        with pytest.raises(LockNotOwned, match=r"'wallet:1', and that of 'tenant:\\n9' says nothing") as caught:
            guard.set("wallet:1", "theirs", lease=lease_of(fence, "tenant:\n9"))
        assert caught.value.key == "tenant:\n9"
    assert client.get("wallet:1") == "ours"


def test_of_several_keys_the_one_that_guards_a_name_is_named(client: redis.Redis, guard: Fenced) -> None:
    """It is written down beside the value; the fence is that for the key."""
    lease = separate_leases_of(**{"wallet:1": 5, "wallet:2": 7})
    with pytest.raises(LockConfigError, match=r"guarded by one of \['wallet:1', 'wallet:2'\]: say which"):
        guard.set("wallet:2", 1, lease=joint_lease_of(5, "wallet:1", "wallet:2"))
    guard.set("wallet:2", 1, key="wallet:2", lease=lease)
    guard.set("wallet:1", 1, key="wallet:1", lease=lease)
    with pytest.raises(StaleFence):
        guard.set("wallet:2", 2, key="wallet:2", lease=lease_of(6, "wallet:2"))
    guard.set("wallet:1", 2, key="wallet:1", lease=lease_of(6, "wallet:1"))
    assert [client.get(name) for name in ("wallet:1", "wallet:2")] == ["2", "1"]


def test_a_lease_of_another_key_is_refused_before_it_is_sent(client: redis.Redis, guard: Fenced) -> None:
    """The first write to a name is, too, where it says which key it is guarded by."""
    with pytest.raises(LockNotOwned, match="guarded by the key 'wallet:1'"):
        guard.set("wallet:1", 1, key="wallet:1", lease=lease_of(5, "wallet:2"))
    assert client.dbsize() == 0
    guard.set("wallet:1", 1, key="wallet:1", lease=lease_of(5, "wallet:1"))


def test_the_running_job_hands_over_nothing(client: redis.Redis, guard: Fenced) -> None:
    """Its lease is the default; outside of a job there is none, and one that is over is refused."""
    with contextlib.closing(Locks("memory://")) as locks:
        locks.run("wallet:1", lambda: guard.set("wallet:1", "mine"))
        assert client.get("wallet:1") == "mine"
        with pytest.raises(LockError, match="nothing to write under"):
            guard.set("wallet:1", "nobody's")
        lease = lease_of(9)
        lease.lose("it is a test")
        with pytest.raises(LockLost):
            guard.set("wallet:1", "late", lease=lease)
    assert client.get("wallet:1") == "mine"


def test_a_value_may_end_and_its_fence_stays(client: redis.Redis, guard: Fenced) -> None:
    """`ex` and `delete` are about the value alone."""
    guard.set("wallet:1", "brief", ex=0.001, lease=lease_of(7))
    assert client.pttl("wallet:1") <= 1
    assert client.pttl("{wallet:1}:fence") == -1
    client.delete("wallet:1")
    with pytest.raises(StaleFence):
        guard.set("wallet:1", "old", lease=lease_of(6))


def test_a_fence_ends_where_that_is_asked_for(client: redis.Redis) -> None:
    """So many seconds after the last write, and not after the first."""
    guard = Fenced(client, keep=60)
    guard.set("wallet:1", 1, lease=lease_of(7))
    assert 0 < client.pttl("{wallet:1}:fence") <= 60_000
    client.pexpire("{wallet:1}:fence", 5000)
    guard.incr("wallet:1", lease=lease_of(7))
    assert 5000 < client.pttl("{wallet:1}:fence") <= 60_000


@pytest.mark.parametrize("keep", [0, -1, "60", float("nan"), True])
def test_a_time_that_is_none_is_a_mistake(client: redis.Redis, keep: Any) -> None:
    """It is found when the guard is made."""
    with pytest.raises(LockConfigError, match="keep must be a number of seconds above 0"):
        Fenced(client, keep=keep)


def test_a_mapping_of_any_size_is_one_write(client: redis.Redis, guard: Fenced) -> None:
    """Lua hands over some thousand words at a time, and nobody sees that."""
    fields = {f"field {number}": number for number in range(10_000)}
    assert guard.hset("user:1", fields, lease=lease_of(7)) == 10_000
    assert client.hlen("user:1") == 10_000
    assert {name: int(value) for name, value in guard.hgetall("user:1", lease=lease_of(7)).items()} == fields


def test_an_empty_mapping_is_a_mistake(client: redis.Redis, guard: Fenced) -> None:
    """It is not sent."""
    with pytest.raises(ValueError, match="the mapping is empty"):
        guard.hset("user:1", {}, lease=lease_of(7))
    assert client.dbsize() == 0


def test_errors_of_redis_are_its_own(client: redis.Redis, guard: Fenced) -> None:
    """A wrong type, a full server and one that takes no writes are told as redis-py tells them, and nothing is done."""
    client.lpush("list", 1)
    with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
        guard.incr("list", lease=lease_of(7))
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            guard.set("wallet:1", 1, lease=lease_of(7))
    finally:
        client.config_set("maxmemory", 0)
    client.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(redis.exceptions.ReadOnlyError):
            guard.set("wallet:1", 1, lease=lease_of(7))
    finally:
        client.replicaof("NO", "ONE")
    assert client.keys() == ["list"]


def test_a_server_that_forgot_the_script_is_told_it_again(client: redis.Redis, guard: Fenced) -> None:
    """Within the same call."""
    client.script_flush()
    guard.set("wallet:1", 1, lease=lease_of(7))
    client.script_flush()
    assert guard.get("wallet:1", lease=lease_of(7)) == "1"


def test_a_pipeline_is_refused(client: redis.Redis, redis_cluster: Any) -> None:
    """It would go on behind a refusal."""
    with redis.RedisCluster(*redis_cluster.addresses[0]) as cluster:
        for pipeline in (client.pipeline(), cluster.pipeline(), valkey.Valkey().pipeline()):
            with pytest.raises(LockConfigError, match="cannot write through a pipeline"):
                Fenced(pipeline)


def test_an_asynchronous_client_is_refused() -> None:
    """It would give promises, which nobody keeps."""
    with pytest.raises(LockConfigError, match="not asynchronous"):
        Fenced(redis.asyncio.Redis())


@pytest.mark.parametrize("wrong", ["redis://localhost", None])
def test_what_is_no_client_is_refused(wrong: Any) -> None:
    """When the guard is made, and not at its first write."""
    with pytest.raises(LockConfigError, match=r"through your client.*redis\.Redis\.from_url"):
        Fenced(wrong)


def test_what_is_no_fence_is_no_permission(client: redis.Redis, guard: Fenced) -> None:
    """Whatever else lies where the fence should be, nothing is written."""
    client.set("{wallet:1}:fence", "something else")
    with pytest.raises(LockConfigError, match=r"'\{wallet:1\}:fence' is no fence of ours. Delete it"):
        guard.set("wallet:1", 1, lease=lease_of(7))
    assert client.get("wallet:1") is None
