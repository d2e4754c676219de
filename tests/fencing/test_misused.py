"""What each guard says of what is no lease to go by: none, one of another key, one whose store cannot vouch for it.

Each way in which something is written or claimed is guarded by the key `vault:1` here.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from django.db import transaction
from sqlalchemy import create_engine, delete, update
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from celery_locks import LockError, LockNotOwned, Locks
from celery_locks.fencing import FenceWarning, guarded_write
from celery_locks.fencing import sqlalchemy as by_sqlalchemy
from tests.fencing import bank

# isort: split
from celery_locks.fencing import django as by_django
from tests.fencing.bank.models import Vault
from tests.fencing.leases import lease_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "vault:1"


class _Base(DeclarativeBase):
    pass


class _Safe(by_sqlalchemy.Fenced, _Base):
    __tablename__ = "safes"
    __fence_key__ = "vault:{id}"

    id: Mapped[int] = mapped_column(primary_key=True)
    gold: Mapped[int] = mapped_column(default=0)


class _Page:
    """A place with versions."""

    def __init__(self) -> None:
        self.kept = (0, 0)

    def read(self) -> tuple[int, int, Any]:
        return *self.kept, self.kept

    def write(self, value: int, fence: int, version: tuple[int, int]) -> bool:
        is_as_read = version == self.kept
        self.kept = (value, fence)
        return is_as_read


@pytest.fixture
def safes() -> Iterator[Session]:
    """A session of SQLAlchemy, with a changed object."""
    engine = create_engine("sqlite://")
    _Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(_Safe(id=1))
        session.commit()
        yield session
    engine.dispose()


@pytest.fixture
def vaults(tmp_path: Path) -> Iterator[Any]:
    """The rows of a Django model, of which there is one."""
    with bank.served(f"sqlite://{tmp_path}/bank.db"):
        bank.make_tables(Vault)
        Vault.objects.create(owner=1)
        with transaction.atomic():
            yield Vault.objects.filter(owner=1)


@pytest.fixture
def page() -> _Page:
    return _Page()


def changed(session: Session) -> _Safe:
    safe = session.get_one(_Safe, 1)
    safe.gold += 1
    return safe


class Way(NamedTuple):
    """The fixture of what is written to, and the writing; in one line, to which a warning points."""

    place: str
    write: Callable[[Any, Any], object]


WAYS = {
    "sqlalchemy, an object": Way(
        "safes", lambda session, lease: by_sqlalchemy.fenced(session, changed(session), lease)
    ),
    "sqlalchemy, a statement": Way(
        "safes",
        lambda session, lease: by_sqlalchemy.fenced(session, update(_Safe).where(_Safe.id == 1).values(gold=1), lease),
    ),
    "sqlalchemy, a deletion": Way(
        "safes", lambda session, lease: by_sqlalchemy.fenced(session, delete(_Safe).where(_Safe.id == 1), lease)
    ),
    "sqlalchemy, a claim": Way("safes", lambda session, lease: by_sqlalchemy.claim(session, _Safe, 1, lease)),
    "django, an instance": Way("vaults", lambda rows, lease: by_django.fenced(rows.get(), lease)),
    "django, rows": Way("vaults", lambda rows, lease: rows.fenced_update(lease, gold=1)),
    "django, a claim": Way("vaults", lambda rows, lease: rows.claim(lease)),
    "redis, set": Way("guard", lambda guard, lease: guard.set("gold", 1, key=KEY, lease=lease)),
    "redis, hset": Way("guard", lambda guard, lease: guard.hset("gold", {"bars": 1}, key=KEY, lease=lease)),
    "redis, incr": Way("guard", lambda guard, lease: guard.incr("gold", key=KEY, lease=lease)),
    "redis, delete": Way("guard", lambda guard, lease: guard.delete("gold", key=KEY, lease=lease)),
    "redis, get": Way("guard", lambda guard, lease: guard.get("gold", key=KEY, lease=lease)),
    "redis, hgetall": Way("guard", lambda guard, lease: guard.hgetall("gold", key=KEY, lease=lease)),
    "whatever has versions": Way(
        "page", lambda page, lease: guarded_write(page, lambda n: n + 1, key=KEY, lease=lease)
    ),
}


@pytest.fixture(params=[*WAYS.values()], ids=[*WAYS])
def write(request: pytest.FixtureRequest) -> Callable[[Any], object]:
    """Writes, or claims, under this lease."""
    place = request.getfixturevalue(request.param.place)
    return lambda lease: request.param.write(place, lease)


def test_a_guard_without_a_lock_says_so(write: Callable[[Any], object]) -> None:
    """Outside of a locked job, with no lease handed over, nothing is written and the error says what to do."""
    with pytest.raises(LockError, match=r"nothing to write under: no lease here.*hand it to the guard"):
        write(None)


def test_a_guard_with_a_lease_of_another_key_says_so(write: Callable[[Any], object]) -> None:
    """With both keys: what one lock's fences order is not what the other protects."""
    with pytest.raises(LockNotOwned, match=r"'vault:1'.*'vault:2'") as caught:
        write(lease_of(5, key="vault:2"))
    assert caught.value.key == KEY


def test_a_guard_by_fences_that_may_go_down_says_so(
    write: Callable[[Any], object], request: pytest.FixtureRequest, redlock_url: str
) -> None:
    """Redlock on servers that keep nothing on disk: a warning at the line that writes, with what to do about it."""
    way = WAYS[request.node.callspec.id]
    with contextlib.closing(Locks(redlock_url)) as locks, pytest.warns(FenceWarning) as caught:
        locks.run(KEY, lambda: write(None))
    assert all("5 of 5 servers" in str(each.message) for each in caught)
    assert all("Set appendonly yes" in str(each.message) for each in caught)
    assert [(each.filename, each.lineno) for each in caught] == [(__file__, way.write.__code__.co_firstlineno)]
