"""What a unit test may ask for."""

from __future__ import annotations

import os
import sys
import weakref

import pytest
from celery import _state

from tests.unit.fakes import FakeClock, Room

#: Python 3.10 looks for signals in more places than the newer ones, and some of them nobody can cover.
collect_ignore = ["test_interrupted.py"] if sys.version_info < (3, 11) else []


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def room() -> Room:
    return Room()


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own CELERY_LOCK_... must not change a test."""
    for name in list(os.environ):
        if name.startswith("CELERY_LOCK_"):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_apps_from_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery gives a shared task to every app made later, and to every app that is not yet collected as garbage.

    Another test's app may be one whose settings are wrong on purpose.
    """
    monkeypatch.setattr(_state, "_on_app_finalizers", set(_state._on_app_finalizers))
    monkeypatch.setattr(_state, "_apps", weakref.WeakSet())
    monkeypatch.setattr(_state._tls, "current_app", None)
    monkeypatch.setattr(_state, "default_app", None)
