"""Jobs that hold several keys at once."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from celery_locks import Locks
from tests.acceptance.journal import judge
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.acceptance.wallets import wallet
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.acceptance.nodes import Worker

WALLETS = range(1, 6)
TRANSFERS = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the balances are: a hundred each."""
    for number in WALLETS:
        (tmp_path / str(number)).write_text("100")
    return tmp_path


def balances(folder: Path) -> dict[int, int]:
    return {number: int((folder / str(number)).read_text()) for number in WALLETS}


def test_transfers_that_cross(office: Office, folder: Path) -> None:
    """Transfers between wallets in any order all run once, none beside another on one wallet, and no coin is lost.

    Their countdown is a minute: all who wait are called, by the line of the key that they found taken.
    """
    expected = Counter(dict.fromkeys(WALLETS, 100))
    results, jobs = [], []
    for number in range(TRANSFERS):
        chosen, name = random.sample(WALLETS, k=random.choice((2, 2, 2, 3))), f"job {number}"
        task = "transfer" if len(chosen) == 2 else "collect"
        where = {"source": chosen[1], "target": chosen[0]} if task == "transfer" else {"sources": chosen}
        expected.update({chosen[0]: len(chosen) - 1, **dict.fromkeys(chosen[1:], -1)})
        results.append(office.send(task, name, folder=str(folder), **where))
        jobs.append((name, chosen))
    assert [result.get(timeout=2 * PATIENCE) for result in results] == [name for name, _ in jobs]
    for number in WALLETS:
        ran = [name for name, chosen in jobs if number in chosen]
        judge(office.journal.runs(wallet(office.key, number)), ran)
    assert balances(folder) == expected
    office.wait_until_free()
    assert not office.locks.locked([wallet(office.key, number) for number in WALLETS])
    with office.vault.client() as client:
        assert [name for name in client.scan_iter() if office.key in name and ":line" in name] == []


@only_redis
def test_a_job_waits_in_the_line_of_the_key_that_is_taken(office: Office, folder: Path) -> None:
    """It holds none of the others meanwhile, shows which it waits for, and moves on to the next that is taken."""
    first, second = (office.locks.lock(wallet(office.key, number), ttl=60) for number in (1, 2))
    assert first.acquire()
    assert second.acquire()
    waits = office.send("transfer", "waits", source=2, target=1, folder=str(folder))
    office.wait_for_state(waits, "RETRY")
    assert repr(wallet(office.key, 1)) in str(waits.info)
    single = office.send("transfer", "single", source=3, target=3, folder=str(folder))
    assert single.get(timeout=PATIENCE) == "single"
    first.release()
    wait_until(lambda: repr(wallet(office.key, 2)) in str(waits.info), "it to wait for the other wallet", PATIENCE)
    beside = office.send("transfer", "beside", source=1, target=1, folder=str(folder))
    assert beside.get(timeout=PATIENCE) == "beside"
    second.release()
    assert waits.get(timeout=PATIENCE) == "waits"
    assert balances(folder) == {1: 101, 2: 99, 3: 100, 4: 100, 5: 100}


#: One whose keys are taken in one step, and one where they are taken one after another.
STORES: dict[str, tuple[str, Callable[[str], str]]] = {
    "redis": ("redis_url", str),
    "sql+postgresql": ("postgres_url", lambda url: f"sql+{url}"),
    "etcd": ("etcd_url", str),
}


@pytest.fixture(params=STORES)
def locks(request: pytest.FixtureRequest) -> Iterator[tuple[str, Locks]]:
    """A store, by its URL and to be looked at."""
    fixture, made = STORES[request.param]
    url = made(request.getfixturevalue(fixture))
    found = Locks(url)
    yield url, found
    found.close()


@only_redis
def test_a_killed_process_gives_all_its_keys_back(
    desk: Office, hire: Callable[..., Worker], locks: tuple[str, Locks], tmp_path: Path
) -> None:
    """A process of the pool that is killed while it holds two keys for two minutes: both are free at once."""
    url, store = locks
    hire("worker", {"lock_store": url}, queues=[desk.key]).start()
    both = [wallet(desk.key, number) for number in (1, 2)]
    desk.send("hold_both", "killed", queue=desk.key, until=str(tmp_path / "end"))
    run = desk.journal.wait_for_start(both[1], "killed")
    assert store.locked(both[0])
    assert store.locked(both[1])
    os.kill(run.pid, signal.SIGKILL)
    wait_until(lambda: not store.locked(both), f"{both} to be free", PATIENCE)
