"""The lock key that guards a row, made of its own columns."""

from __future__ import annotations

import functools
import string
from typing import TYPE_CHECKING, Any

from django.core.exceptions import FieldDoesNotExist

from celery_locks.errors import LockConfigError, LockNotOwned
from celery_locks.fencing.bearer import bearer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from django.db.models import Model

    from celery_locks.fencing.django.model import Fenced
    from celery_locks.lease import Lease


def ensure_own(lease: Lease, model: type[Fenced], rows: Iterable[dict[str, Any]]) -> None:
    """Raise if the lease is of another key than one of the rows, of which the columns that matter are given."""
    for row in rows if model.__fence_key__ else ():
        if (key := key_of(model, row)) not in lease.keys:
            bearer(lease, key)


def ensure_unmoved(model: type[Fenced], changes: Iterable[str]) -> None:
    """Raise if one of the columns that are to be changed is part of the lock key."""
    parts = set(columns(model).values())
    if moved := [name for name in changes if model._meta.get_field(name) in parts]:
        raise LockNotOwned(
            f"{' and '.join(moved)} of {model._meta.label} is part of its lock key {model.__fence_key__!r}: the rows"
            " would pass from one key to another under the lease of one of them"
        )


def key_of(model: type[Fenced], row: dict[str, Any]) -> str:
    """The lock key of one row."""
    return str(model.__fence_key__).format(**row)


def values_of(instance: Fenced) -> dict[str, Any]:
    """What an instance has in the columns that its lock key is made of."""
    return {name: getattr(instance, field.attname) for name, field in columns(type(instance)).items()}


def kept(instance: Fenced, table: type[Model]) -> dict[str, Any]:
    """What its row must have in that table to be guarded by the key that the instance says."""
    own = table._meta.local_concrete_fields
    parts = (field for field in columns(type(instance)).values() if field in own and not field.primary_key)
    return {field.attname: getattr(instance, field.attname) for field in parts}


def columns(model: type[Fenced]) -> dict[str, Any]:
    """The columns that the lock key of a row is made of, by the names they have in the template."""
    template = model.__fence_key__ or ""
    try:
        return {name: _column(model, name) for name in _names(template)}
    except (ValueError, FieldDoesNotExist) as error:
        raise LockConfigError(
            f"{model.__name__}.__fence_key__ {template!r} is not made of columns of the model ({error}): write it as"
            " 'wallet:{user_id}'"
        ) from None


@functools.cache
def _names(template: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]


def _column(model: type[Fenced], name: str) -> Any:
    meta = model._meta
    field = meta.pk if name == "pk" else meta.get_field(name)
    if not field.concrete:
        raise FieldDoesNotExist(f"{name!r} is no column")
    return field
