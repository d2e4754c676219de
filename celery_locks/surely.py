"""Steps that are done whatever strikes in the middle of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeVar

from celery_locks.errors import LockConfigError, LockTimeout, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
P = ParamSpec("P")

#: What a store or a face says itself. Whatever else ends a step has struck from outside.
NO_INTERRUPT = (StoreUnavailable, LockConfigError, LockTimeout)


def surely(step: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Give back what is held, once more when a soft time limit or Ctrl-C strikes in the middle of it."""
    try:
        return step(*arguments, **named)
    except NO_INTERRUPT:
        raise
    except BaseException:
        step(*arguments, **named)
        raise
