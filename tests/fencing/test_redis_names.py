"""Where the guard for Redis keeps the fence of a name."""

from __future__ import annotations

import contextlib
import random

import pytest
import redis

from celery_locks import LockConfigError
from celery_locks.fencing.redis import fence_of


def test_a_fence_lies_beside_its_name_in_a_cluster() -> None:
    """For all names that can have one there; no two have the same."""
    letters, slots = random.Random(7), {}
    names = {"".join(letters.choices("{}a:", k=letters.randint(1, 7))) for _ in range(9000)}
    for name in names:
        with contextlib.suppress(LockConfigError):
            slots[name] = fence_of(name)
    assert len(slots) > 1000
    assert len({*slots.values()}) == len(slots)
    for name, beside in slots.items():
        assert redis.crc.key_slot(name.encode()) == redis.crc.key_slot(beside.encode())
        assert fence_of(name.encode()) == beside.encode()


@pytest.mark.parametrize("name", ["", "a}b", "{}a", "a{}b{c}"])
def test_a_name_that_finds_no_place_is_a_mistake(name: str) -> None:
    """The message says how to write it."""
    with pytest.raises(LockConfigError, match=r"hash tag of its own, as \{42\} in 'wallet:\{42\}:balance'"):
        fence_of(name)
