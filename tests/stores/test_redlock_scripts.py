"""What is said twice or late to one node of Redlock, script by script."""

from __future__ import annotations

import random
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest

from tests.stores.redlock_stores import FENCE, LOCK

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis

    from tests.servers.redlock import RedlockNodes

TTL, RETENTION = 30_000, 100_000
VERBS = ("acquire", "settle", "undo", "renew", "release")


@pytest.fixture
def node(redlock_nodes: RedlockNodes) -> Iterator[redis.Redis]:
    """A client of one empty node."""
    redlock_nodes.flush()
    with redlock_nodes.nodes[0].client(socket_timeout=10) as client:
        yield client


def _run(node: redis.Redis, verb: str, *words: str | int, names: tuple[str, ...] = (LOCK, FENCE)) -> Any:
    text = (files("celery_locks.stores.redlock") / "scripts" / f"{verb}.lua").read_text("utf-8")
    return node.execute_command("EVAL", text, len(names), *names, *words)


def _acquire(node: redis.Redis, owner: str, attempt: int) -> Any:
    return _run(node, "acquire", owner, TTL, RETENTION, attempt)


def _undo(node: redis.Redis, owner: str, attempt: int) -> Any:
    return _run(node, "undo", owner, attempt, names=(LOCK,))


def _release(node: redis.Redis, owner: str) -> Any:
    return _run(node, "release", owner, RETENTION)


def test_an_undoing_is_of_its_attempt_and_earlier_ones(node: redis.Redis) -> None:
    """What a later attempt of the owner was given stays, also where an earlier one had been given it first."""
    assert _acquire(node, "anna", 100) == 100
    assert _acquire(node, "anna", 200) == 100
    assert _acquire(node, "anna", 150) == 100
    assert _undo(node, "anna", 100) == 0
    assert _undo(node, "anna", 199) == 0
    assert _undo(node, "ben", 300) == 0
    assert _undo(node, "anna", 200) == 1
    assert _undo(node, "anna", 200) == 0
    assert _acquire(node, "anna", 300) == 300


def test_a_fence_is_the_attempt_or_one_more_than_the_last(node: redis.Redis) -> None:
    """Nodes that are told the same number answer the same, and a number that is behind counts on."""
    fences = []
    for attempt in (100, 50, 50, 2**52):
        fences.append(_acquire(node, f"owner {len(fences)}", attempt))
        assert _release(node, f"owner {len(fences) - 1}") == 1
    assert fences == [100, 101, 102, 2**52]
    assert _acquire(node, "last", 1) == 2**52 + 1


def test_an_owner_that_released_stays_out(node: redis.Redis) -> None:
    """Whether it held the lock or not, nothing that arrives later gives it one, and others are let in."""
    _acquire(node, "anna", 1)
    assert _release(node, "ben") == 0
    assert _release(node, "anna") == 1
    for owner, said in (("anna", 1), ("ben", 0)):
        assert _acquire(node, owner, 99) == []
        assert _run(node, "settle", RETENTION, 99, owner, TTL, 7) == [0]
        assert [_release(node, owner) for _ in range(2)] == [said, said]
    assert _acquire(node, "cleo", 2) > 1


def test_settling_writes_the_fence_where_the_owner_has_the_lock(node: redis.Redis) -> None:
    """And nowhere else, unless it is to be given anew; what the node has counted never goes down."""
    assert _run(node, "settle", RETENTION, "", "anna", TTL, 500) == [0]
    _acquire(node, "anna", 100)
    assert _run(node, "settle", RETENTION, "", "ben", TTL, 500) == [0]
    assert _run(node, "settle", RETENTION, "", "anna", TTL, 500) == [1]
    assert _acquire(node, "anna", 200) == 500
    assert _run(node, "settle", RETENTION, "", "anna", TTL, 300) == [1]
    assert _acquire(node, "anna", 201) == 300
    assert _release(node, "anna") == 1
    assert _acquire(node, "ben", 1) == 501


def test_settling_anew_takes_a_free_lock_and_no_other(node: redis.Redis) -> None:
    """Of many locks each has its own answer, and one that holds something else spoils none."""
    names = tuple(f"lock:{{{key}}}{end}" for key in "abcd" for end in ("", ":fence"))
    node.execute_command("SET", names[2], "1:ben\0001", "PX", TTL)
    node.execute_command("LPUSH", names[4], "foreign")
    node.execute_command("LPUSH", names[7], "foreign")
    words = [word for fence in (11, 12, 13, 14) for word in ("anna", TTL, fence)]
    assert _run(node, "settle", RETENTION, 5, *words, names=names) == [1, 0, 0, 0]
    assert node.execute_command("GET", names[0]) == "11:anna\0005"
    assert node.execute_command("GET", names[1]) == "11:"
    assert node.execute_command("EXISTS", names[6]) == 0


def test_what_is_no_lock_is_nobodys(node: redis.Redis) -> None:
    """A name that holds something else is an error to acquire, and nothing to the other verbs."""
    node.execute_command("SET", LOCK, "something else")
    assert _acquire(node, "anna", 1) == ["something else", -1]
    assert _undo(node, "anna", 1) == 0
    assert _run(node, "renew", "anna", TTL, names=(LOCK,)) == [0]
    assert _release(node, "anna") == 0
    assert node.execute_command("GET", LOCK) == "something else"


def test_there_is_one_script_a_verb() -> None:
    """Each is within a screen."""
    for verb in VERBS:
        text = (files("celery_locks.stores.redlock") / "scripts" / f"{verb}.lua").read_text("utf-8")
        assert len(text.splitlines()) <= 40, verb


def test_the_scripts_never_disagree_with_a_model(node: redis.Redis) -> None:
    """Any sequence of requests by three owners answers as a lock on paper does."""
    for seed in range(15):
        node.flushall()
        for request, answer, expected in _played(node, random.Random(seed)):
            assert (seed, request, answer) == (seed, request, expected)


def _played(node: redis.Redis, dice: random.Random) -> Iterator[tuple[str, Any, Any]]:
    """Thirty requests, what the node said to each, and what it should have."""
    holder, attempt, fence, done, released = None, 0, 0, set(), set()
    for step in range(1, 31):
        owner = dice.choice("abc") + str(step // 10)
        match dice.choice(("acquire", "acquire", "undo", "renew", "release")):
            case "acquire":
                answer = _acquire(node, owner, step)
                if holder not in (None, owner):
                    yield "acquire", answer[0], holder
                elif owner in done:
                    yield "acquire", answer, []
                else:
                    fence = fence if holder else max(fence + 1, step)
                    yield "acquire", answer, fence
                    holder, attempt = owner, step
            case "undo":
                late = dice.randrange(1, step + 1)
                ours = holder == owner and attempt <= late
                yield "undo", _undo(node, owner, late), ours
                holder = None if ours else holder
            case "renew":
                yield "renew", _run(node, "renew", owner, TTL, names=(LOCK,)), [int(holder == owner)]
            case _:
                yield "release", _release(node, owner), owner == holder or owner in released
                released |= {owner} if owner == holder else set()
                done.add(owner)
                holder = None if owner == holder else holder
