"""Which lock key protects a row, where its class or table says so."""

from __future__ import annotations

import string
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import inspect
from sqlalchemy.exc import InvalidRequestError

from celery_locks.errors import LockConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_formatter = string.Formatter()


def key_of(instance: Any) -> str | None:
    """The key of a mapped object. Raises `InvalidRequestError` where the change is of the key itself."""
    template = getattr(instance, "__fence_key__", None)
    if template is None:
        return None
    state = inspect(instance)
    if state.persistent:
        for name in names(template):
            if name in state.attrs and state.attrs[name].history.has_changes():
                raise InvalidRequestError(
                    f"{name} of {type(instance).__name__} is to be changed, and is part of its lock key {template!r}:"
                    " the row would pass from one key to another under the lease of one of them"
                )
    return filled(template, lambda name: getattr(instance, name), type(instance).__name__)


def filled(template: str, value: Callable[[str], Any], where: str) -> str:
    """The template with the row's own values."""
    try:
        return _formatter.vformat(template, (), _Values(template, value))
    except (AttributeError, KeyError, ValueError, IndexError) as error:
        raise LockConfigError(f"the lock key {template!r} of {where} cannot be filled in: {error!r}") from error


class _Values(Mapping[str, Any]):
    def __init__(self, template: str, value: Callable[[str], Any]) -> None:
        self._template, self._value = template, value

    def __getitem__(self, name: str) -> Any:
        return self._value(name)

    def __iter__(self) -> Iterator[str]:
        return iter(names(self._template))

    def __len__(self) -> int:
        return len(names(self._template))


def names(template: str) -> list[str]:
    """What a template names: attributes, or columns."""
    return [_first(name) for _, name, _, _ in _formatter.parse(template) if name]


def _first(field: str) -> str:
    return field.partition(".")[0].partition("[")[0]
