"""What docs/cli.md shows is what the commands print."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from celery_locks.cli import main
from celery_locks.lease import Claim, new_owner
from celery_locks.stores import open_store
from celery_locks.ticket import Stance, Ticket, ticket_of
from tests.commands import masked, run, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery_locks.stores import Store


@pytest.fixture
def store(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """As it is when the page begins: two keys are held, and three wait for one."""
    monkeypatch.setenv("CELERY_LOCK_STORE", redis_url)
    with contextlib.closing(open_store(redis_url)) as store:
        _acquire(store, "wallet:42", "bank.withdraw[6b1cf0c2]")
        _acquire(store, "wallet:7", "lock")
        for stance in (Stance.WAITS, Stance.WAITS, Stance.GOES):
            _acquire(store, "wallet:42", "bank.withdraw[next]", stance)
        yield store


def _acquire(store: Store, key: str, name: str, stance: Stance | None = None) -> None:
    owner = new_owner(name)
    store.acquire(Claim(key, owner, 30.0, ticket=stance and Ticket(ticket_of(owner), stance)))


@pytest.mark.usefixtures("store")
def test_the_page_shows_what_the_commands_print(tmp_path: Path) -> None:
    """Line by line, but for times, numbers, places and the order of keys; and the exit codes."""
    code, count = 0, 0
    for words, expected in shown("celery-locks"):
        if words[0] == "echo":
            assert expected.strip() == str(code)
            continue
        ended = run(main, *[word.replace("/var/lib/bank", str(tmp_path)) for word in words[1:]])
        code, count = ended.code, count + 1
        assert sorted(masked(ended.out + ended.err)) == sorted(masked(expected)), words
    assert count == 8


def test_a_mask_hides_what_changes_and_nothing_else() -> None:
    """Numbers, times and places; never a word."""
    assert masked("wallet:42  3.1s  bank.withdraw[6b1cf0c2]@web1:4711") == masked(
        "wallet:42 12m 03s bank.withdraw[77]@b:9"
    )
    assert masked("is held") != masked("is free")
