"""No store goes untested, nor a capability of one."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING

import pytest

import celery_locks.stores
from celery_locks.stores import Inspects, Store, base, notes, operations, positions
from celery_locks.stores.memory import MemoryStore
from tests.stores.contract import (
    ConnectionContract,
    CrowdsContract,
    CrowdsExpiringContract,
    EvictsContract,
    ExpiringContract,
    HandingContract,
    InspectContract,
    LinesContract,
    NotesContract,
    PositionsContract,
    ProcessContract,
    QueuesContract,
    SeveralContract,
    StoreContract,
    TablesContract,
    WatchesContract,
)
from tests.stores.matrix import CONTRACTS, below, contracts_of, store_tests, table

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a store declares by implementing it, and where that is tested.
CAPABILITIES = {
    Store: StoreContract,
    Inspects: InspectContract,
    base.Lines: LinesContract,
    base.Watches: WatchesContract,
    base.Crowds: CrowdsContract,
    base.Together: SeveralContract,
    notes.Notes: NotesContract,
    positions.Positions: PositionsContract,
    operations.Evicts: EvictsContract,
    operations.Queues: QueuesContract,
    operations.Tables: TablesContract,
}
#: What a doctor and an operator read, of Redis above all: their tests have it, and nothing is promised to a job.
READ_ALONE = {operations.Clocked, operations.Remembers, operations.Served}
#: Promises nothing between processes.
WITHIN_A_PROCESS = {MemoryStore}


def _stores() -> Iterator[type[Store]]:
    for module in pkgutil.walk_packages(celery_locks.stores.__path__, "celery_locks.stores."):
        importlib.import_module(module.name)
    for store in below(Store):
        if store.__module__.startswith("celery_locks.") and not inspect.isabstract(store):
            yield store


STORES = sorted(set(_stores()), key=lambda store: store.__name__)


def required(store: type[Store]) -> set[type]:
    """The contracts that a store's own declaration asks for."""
    wanted: set[type] = {contract for capability, contract in CAPABILITIES.items() if issubclass(store, capability)}
    wanted |= {ConnectionContract if store.in_connection else ExpiringContract, SeveralContract}
    wanted |= {CrowdsExpiringContract} if issubclass(store, base.Crowds) and not store.in_connection else set()
    wanted |= {HandingContract} if store.hands_over else set()
    return wanted if store in WITHIN_A_PROCESS else wanted | {ProcessContract}


def uncovered(store: type[Store], tests: list[type[StoreContract]]) -> list[str]:
    """What no test holds a store to; empty when one test class at least applies all that its declaration asks for."""
    own = [test for test in tests if getattr(test, "store_type", None) is store]
    if not own:
        return [f"no test class has store_type = {store.__name__}"]
    fullest = max(own, key=lambda test: len(required(store) & contracts_of(test)))
    missing = required(store) - contracts_of(fullest)
    return [f"{fullest.__name__} lacks {each.__name__}" for each in CONTRACTS if each in missing]


@pytest.mark.parametrize("store", STORES, ids=lambda store: store.__name__)
def test_every_store_is_held_to_its_contracts(store: type[Store]) -> None:
    """Each store class has a test class that applies every contract the store declares to keep."""
    assert uncovered(store, store_tests()) == []


def test_stores_are_found() -> None:
    """The walk finds the stores there are: it does not pass because it looks nowhere."""
    assert {"FileStore", "MemoryStore", "RedisStore"} <= {store.__name__ for store in STORES}


def test_every_capability_has_a_contract() -> None:
    """A capability that is added to the stores' contract is tested, or this test says that it is not."""
    named = {**vars(base), **vars(notes), **vars(operations), **vars(positions)}.values()
    declared = {value for value in named if inspect.isabstract(value)} - {base.Listening}
    assert declared == set(CAPABILITIES) | READ_ALONE


def test_what_is_not_covered_is_found() -> None:
    """A store without a test, and one whose test leaves out a contract, are both told."""

    class Bare(StoreContract):
        store_type = MemoryStore

    assert uncovered(MemoryStore, []) == ["no test class has store_type = MemoryStore"]
    assert uncovered(MemoryStore, [Bare]) == [
        *(
            f"Bare lacks {each}Contract"
            for each in ("Crowds", "CrowdsExpiring", "Expiring", "Handing", "Inspect", "Notes", "Positions", "Several")
        )
    ]


def test_the_table_tells_each_store_and_contract() -> None:
    """A row a test class, a cell a contract: how many passed, what failed, what does not apply."""

    class Some(StoreContract, InspectContract):
        store_type = MemoryStore

    released, forced = "test_a_released_key_is_free", "test_force_is_for_one_key"
    titles, row = table([(Some, released, "passed"), (Some, forced, "failed"), (Some, "test_own", "passed")])
    told = dict(
        zip(
            titles.split(),
            row.removeprefix("Some").replace(" passed", "+").replace(" failed", "!").split(),
            strict=True,
        )
    )
    assert (told["Store"], told["Inspect"], told["Expiring"]) == ("1+", "1!", "-")
