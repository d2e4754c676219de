"""Opens the stores that a pool may need before it is forked: its processes know them then as their parent does."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from celery._state import _get_active_apps as _apps  # type: ignore[attr-defined]  # its stubs lack it

from celery_locks import config
from celery_locks.errors import LockError
from celery_locks.locks import Locks
from celery_locks.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("celery_locks.worker")


def open_stores() -> None:
    """Those of all tasks, and all that the apps of this process name: tasks of another app are made when they are used.

    None is connected.
    """
    Plan.open_all()
    for app in list(_apps()):
        try:
            _open(app)
        except Exception:  # noqa: PERF203 - what another app has for settings is no matter of this worker
            logger.debug("the stores of %r are not opened", app, exc_info=True)


def _open(app: Any) -> None:
    for alias in _named(app.conf):
        with contextlib.suppress(LockError):
            Locks.from_app(app, alias)


def _named(conf: Any) -> Iterator[str | None]:
    with contextlib.suppress(LockError):
        if config.known_store(conf):
            yield None
        yield from config.setting(conf, "lock_stores") or {}
