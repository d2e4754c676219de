"""Stores by URL. Each lives in its own file and imports its client there."""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, Any, cast

from celery_locks.errors import LockConfigError
from celery_locks.stores.base import DEFAULT_PREFIX, Inspects, Store
from celery_locks.stores.url import hidden

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.metadata import EntryPoint

__all__ = ["DEFAULT_PREFIX", "Inspects", "Store", "hidden", "open_store"]

ENTRY_POINTS = "celery_locks.stores"

_REDIS = "celery_locks.stores.redis:from_url"
_BUILT_IN = {
    "memory": "celery_locks.stores.memory:from_url",
    "file": "celery_locks.stores.file:from_url",
    **dict.fromkeys(
        (
            f"{scheme}{form}"
            for scheme in ("redis", "rediss", "valkey", "valkeys")
            for form in ("", "+sentinel", "+cluster", "+socket")
            if not (form == "+socket" and scheme.endswith("s") and scheme != "redis")
        ),
        _REDIS,
    ),
    "unix": _REDIS,
}
#: Stores that a later version has.
_LATER = {"redlock", "etcd", "zookeeper", "postgresql+advisory", "mysql+getlock"}


def open_store(url: str, *, prefix: str = DEFAULT_PREFIX, options: Mapping[str, Any] | None = None) -> Store:
    """The store a URL names. No connection is made yet, so that a worker starts also while its store is down."""
    scheme = _scheme(url)
    factory = _load(_BUILT_IN[scheme]) if scheme in _BUILT_IN else _third_party(scheme, url)
    return factory(url, prefix=prefix, **(options or {}))


def _scheme(url: object) -> str:
    if not isinstance(url, str) or "://" not in url:
        raise LockConfigError(
            f"{hidden(url)} is not a store's URL: write it as scheme://..., for example redis://localhost:6379/0"
            " or file:///var/lock"
        )
    return url.partition("://")[0].lower()


def _load(path: str) -> Callable[..., Store]:
    module, _, name = path.partition(":")
    return cast("Callable[..., Store]", getattr(importlib.import_module(module), name))


def _third_party(scheme: str, url: str) -> Callable[..., Store]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow to import, and few stores are of others

    for entry in entry_points(group=ENTRY_POINTS, name=scheme):
        return _loaded(entry)
    if scheme in _LATER:
        raise LockConfigError(f"{scheme}:// is not supported in this version: known are {', '.join(sorted(_BUILT_IN))}")
    close = difflib.get_close_matches(scheme, _BUILT_IN, n=1, cutoff=0.75)
    hint = f"did you mean {close[0]}://?" if close else f"known are {', '.join(sorted(_BUILT_IN))}"
    raise LockConfigError(f"no store is known for {hidden(url)}: {hint}")


def _loaded(entry: EntryPoint) -> Callable[..., Store]:
    try:
        return cast("Callable[..., Store]", entry.load())
    except ImportError as error:
        raise LockConfigError(
            f"the store for {entry.name}:// cannot be imported from {entry.value} ({error}): install what it needs"
        ) from None
