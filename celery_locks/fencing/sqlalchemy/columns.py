"""Where a fence is kept: a column of the row it protects, and how that column is found again."""

from __future__ import annotations

import contextlib
import functools
import weakref
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sqlalchemy import BigInteger, Column, Table, and_, bindparam, false, inspect, or_, text, update
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Mapped, MappedAsDataclass, mapped_column, validates

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sqlalchemy import BindParameter, ColumnElement, Update
    from sqlalchemy.orm import Mapper

#: What marks the column in its `info`, however it is named.
MARK = "celery_locks.fence"


def fence_column(name: str = "fence", *, key: str | None = None) -> Column[int]:
    """The column for a Core table. `key` is a template of the lock key that protects a row: `"wallet:{user_id}"`."""
    info = {MARK: key}
    return Column(name, BigInteger, nullable=False, default=0, server_default=text("0"), info=info)


class Fenced:
    """Gives a mapped class the column `fence`, by which `fenced` and `claim` guard its rows.

    `__fence_key__` may say which lock key protects a row, as a template over the row's own attributes:
    `"wallet:{user_id}"`. A lease of another key is then refused.
    """

    __fence_key__: ClassVar[str | None] = None

    fence: Mapped[int] = mapped_column(BigInteger, default=0, server_default=text("0"), info={MARK: None})

    @validates("fence")
    def _keep_fence(self, _: str, fence: int) -> int:
        return _kept(self, fence)


class FencedDataclass(MappedAsDataclass):
    """The same for classes that are mapped as dataclasses. The fence is no argument of theirs."""

    __fence_key__: ClassVar[str | None] = None

    fence: Mapped[int] = mapped_column(
        BigInteger, init=False, default=0, server_default=text("0"), info={MARK: None}, kw_only=True
    )

    @validates("fence")
    def _keep_fence(self, _: str, fence: int) -> int:
        return _kept(self, fence)


def _kept(instance: Any, fence: int) -> int:
    """The fence that the object of a row has: only a guard gives it another, and takes that one away first.

    `session.merge()` would put back the one of an older copy, and the next flush write it.
    """
    return instance.fence if inspect(instance).persistent and instance.fence is not None else fence


@dataclass(frozen=True, eq=False)
class Place:
    """The table that has the fences of some rows, the column, and what tells the rows apart."""

    table: Table
    fence: Column[int]
    #: Of the mapped class; the column's own key where there is none.
    attribute: str
    identity: Sequence[Column[Any]]

    @functools.cached_property
    def bearers(self) -> BindParameter[int]:
        """The fence that is written under when a statement is executed."""
        # Made once, as the condition is: to put them together was most of what a guarded write cost.
        return bindparam("celery_locks_fence", callable_=_under.get, type_=self.fence.type)

    @functools.cached_property
    def is_open(self) -> ColumnElement[bool]:
        """That no higher fence has written. A table that was migrated may have none at all."""
        return or_(self.fence.is_(None), self.fence <= self.bearers)

    @functools.cached_property
    def update(self) -> Update:
        """An update of the table, of nothing and for nobody: what a session is asked with where it would send one."""
        return update(self.table)

    def guarded(self, statement: Update) -> Update:
        """The statement with the condition: the same each time, of the same one."""
        # A flush has one statement for a table, which it uses again. What SQLAlchemy has found out about a statement
        # it notes on the statement itself, to know what was compiled of it. Of a new copy it would find it out anew.
        found = self._guarded.get(statement)
        if found is None:
            found = self._guarded[statement] = statement.where(self.is_open)
        return found

    @functools.cached_property
    def _guarded(self) -> weakref.WeakKeyDictionary[Update, Update]:
        return weakref.WeakKeyDictionary()

    def rows(self, identities: Collection[Sequence[Any]]) -> ColumnElement[bool]:
        """That it is one of these rows."""
        if len(self.identity) == 1 and len(identities) != 1:
            return self.identity[0].in_([value for (value,) in identities])
        pinned = (and_(*(a == b for a, b in zip(self.identity, each, strict=True))) for each in identities)
        return or_(false(), *pinned)

    def row(self, identity: Sequence[Any]) -> str:
        """How an error calls a row."""
        named = ", ".join(f"{column.key}={value!r}" for column, value in zip(self.identity, identity, strict=True))
        return f"the row {named} of {self.table.fullname}"


#: The fence of the write that is under way.
_under: ContextVar[int] = ContextVar("celery_locks_fence")


@contextlib.contextmanager
def under(fence: int) -> Iterator[None]:
    """Let statements with the condition of a place go by this fence while the body executes them."""
    token = _under.set(fence)
    try:
        yield
    finally:
        _under.reset(token)


def of_table(table: object) -> Place:
    """Where a table has its fences. Raises `ArgumentError` for one that has none."""
    if isinstance(table, Table):
        found: Place | None = table.info.get(MARK)
        # The copy of a table has what its original is said to be.
        if found is not None and found.table is table:
            return found
        for column in table.columns:
            if MARK in column.info:
                found = table.info[MARK] = Place(table, column, column.key, list(table.primary_key.columns))
                return found
    raise ArgumentError(
        f"{table} has no fence: give the table fence_column(), or the mapped class the mixin Fenced. Where a class"
        " inherits its fence from a joined table, write its objects, or a statement on that table"
    )


def of_mapper(mapper: Mapper[Any]) -> Place:
    """Where the rows of a mapped class have their fences."""
    found = _known.get(mapper)
    if found is None:
        found = _known[mapper] = _looked_up(mapper)
    return found


def _looked_up(mapper: Mapper[Any]) -> Place:
    for table in mapper.tables:
        for column in table.columns:
            if isinstance(table, Table) and isinstance(column, Column) and MARK in column.info:
                identity = [_in_table(mapper, key, table) for key in mapper.primary_key]
                return Place(table, column, mapper.get_property_by_column(column).key, identity)
    raise ArgumentError(f"{mapper.class_.__name__} has no fence: give it the mixin Fenced")


def _in_table(mapper: Mapper[Any], key: ColumnElement[Any], table: Table) -> Column[Any]:
    # A class that is spread over joined tables has its key in each of them, perhaps under another name.
    columns: Sequence[Any] = mapper.get_property_by_column(key).columns
    return next(each for each in columns if each.table is table)


_known: weakref.WeakKeyDictionary[Mapper[Any], Place] = weakref.WeakKeyDictionary()
