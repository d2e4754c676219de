"""What guards write to, a module a guard: whoever is here takes part in the shared proof.

A module has one class that fits `Target`, made from a URL, and says in `SERVERS` which fixtures give such URLs. It may
have `claim(name, lease)` besides, which puts the fence there and gives the value.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import pkgutil
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery_locks.lease import Lease


class Target(Protocol):
    """A place that is written to, guarded and plain, by several processes."""

    def prepare(self, names: Sequence[str]) -> None: ...  # make the rows, fence absent; value ""
    def plain(self, name: str, value: str) -> None: ...  # write without a guard
    def guarded(self, name: str, value: str, lease: Lease) -> None: ...  # raises StaleFence
    def read(self, name: str) -> str: ...
    def fence(self, name: str) -> int: ...  # what is stored; 0 for none
    def before_write(
        self, pause: Callable[[], None]
    ) -> None: ...  # call this in the writing thread right before a write is sent
    def close(self) -> None: ...


class Kind(NamedTuple):
    """A guard at one server: what makes its target, and the fixture that gives the URL."""

    guard: str
    make: Callable[[str], Target]
    server: str

    @property
    def name(self) -> str:
        return f"{self.guard} at {self.server.removesuffix('_url')}"


#: Where a module says nothing, it is about SQL.
_DATABASES = ("sqlite_url", "postgres_url", "mariadb_url")


def kinds() -> list[Kind]:
    """Every guard at each of its servers."""
    return list(_found())


def each_guard(turn: int) -> list[Kind]:
    """Every guard at one of its servers, at another in the next turn."""
    guards = [list(group) for _, group in itertools.groupby(_found(), lambda kind: kind.guard)]
    return [servers[turn % len(servers)] for servers in guards]


def _found() -> Iterator[Kind]:
    for each in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{each.name}")
        (target,) = [value for value in vars(module).values() if _is_target(value, module.__name__)]
        for server in getattr(module, "SERVERS", _DATABASES):
            yield Kind(each.name, target, server)


def _is_target(value: object, module: str) -> bool:
    wanted = [name for name in vars(Target) if not name.startswith("_")]
    return inspect.isclass(value) and value.__module__ == module and all(hasattr(value, name) for name in wanted)
