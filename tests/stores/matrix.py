"""Which store is held to which contract, read from the bases of the tests."""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING

import tests.stores
from tests.stores import contract

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ALL = {value for name, value in vars(contract).items() if name.endswith("Contract")}
#: A capability each; first what every store must do.
CONTRACTS = tuple(sorted(_ALL, key=lambda each: (each is not contract.StoreContract, each.__name__)))


def contracts_of(test: type) -> set[type]:
    """The contracts a test class applies."""
    return {each for each in CONTRACTS if issubclass(test, each)}


def contract_of(test: type, name: str) -> type | None:
    """The contract that a test class has a test from."""
    return next((each for each in CONTRACTS if issubclass(test, each) and name in vars(each)), None)


def store_tests() -> list[type[contract.StoreContract]]:
    """Every test class of a store."""
    for module in pkgutil.iter_modules(tests.stores.__path__):
        if module.name.startswith("test_"):
            importlib.import_module(f"tests.stores.{module.name}")
    return [each for each in below(contract.StoreContract) if each.__name__.startswith("Test")]


def below(cls: type) -> Iterator[type]:
    """All classes that derive from this one."""
    for each in cls.__subclasses__():
        yield each
        yield from below(each)


def table(outcomes: Iterable[tuple[type, str, str]]) -> Iterator[str]:
    """Lines that tell for each test class and contract how many tests passed, from (class, test, outcome)."""
    counted: dict[type, dict[type, list[str]]] = {}
    for test, name, outcome in outcomes:
        if kind := contract_of(test, name):
            counted.setdefault(test, {}).setdefault(kind, []).append(outcome)
    if counted:
        titles = [each.__name__.removesuffix("Contract") for each in CONTRACTS]
        yield _row("", titles)
    for test in sorted(counted, key=lambda each: each.__name__):
        cells = [_cell(counted[test].get(each), applies=issubclass(test, each)) for each in CONTRACTS]
        yield _row(test.__name__.removeprefix("Test"), cells)


def _cell(outcomes: list[str] | None, *, applies: bool) -> str:
    if not outcomes:
        return "not run" if applies else "-"
    others = {each: outcomes.count(each) for each in dict.fromkeys(outcomes) if each != "passed"}
    return ", ".join(f"{count} {each}" for each, count in others.items()) or f"{len(outcomes)} passed"


def _row(title: str, cells: Iterable[str]) -> str:
    return f"{title:24}" + "".join(f"{cell:>16}" for cell in cells)
