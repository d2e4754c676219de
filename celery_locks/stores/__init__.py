"""Stores by URL. Each lives in its own file and imports its client there."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any, cast

from celery_locks.errors import LockConfigError
from celery_locks.stores.base import DEFAULT_PREFIX, Inspects, Store
from celery_locks.stores.schemes import BUILT_IN, home
from celery_locks.stores.url import hidden

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.metadata import EntryPoint

__all__ = ["DEFAULT_PREFIX", "Inspects", "Store", "hidden", "open_store"]

ENTRY_POINTS = "celery_locks.stores"


def open_store(url: str, *, prefix: str = DEFAULT_PREFIX, options: Mapping[str, Any] | None = None) -> Store:
    """The store a URL names. No connection is made yet, so that a worker starts also while its store is down."""
    scheme = _scheme(url)
    own = home(scheme)
    factory = own.factory(scheme) if own else _third_party(scheme, url)
    return factory(url, prefix=prefix, **(options or {}))


def _scheme(url: object) -> str:
    if not isinstance(url, str) or "://" not in url:
        raise LockConfigError(
            f"{hidden(url)} is not a store's URL: write it as scheme://..., for example redis://localhost:6379/0"
            " or file:///var/lock"
        )
    return url.partition("://")[0].lower()


def _third_party(scheme: str, url: str) -> Callable[..., Store]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow to import, and few stores are of others

    for entry in entry_points(group=ENTRY_POINTS, name=scheme):
        return _loaded(entry)
    close = difflib.get_close_matches(scheme, BUILT_IN, n=1, cutoff=0.75)
    hint = f"did you mean {close[0]}://?" if close else f"known are {', '.join(sorted(BUILT_IN))}"
    raise LockConfigError(f"no store is known for {hidden(url)}: {hint}")


def _loaded(entry: EntryPoint) -> Callable[..., Store]:
    try:
        return cast("Callable[..., Store]", entry.load())
    except ImportError as error:
        raise LockConfigError(
            f"the store for {entry.name}:// cannot be imported from {entry.value} ({error}): install what it needs"
        ) from None
