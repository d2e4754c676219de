"""What a unit test may ask for."""

from __future__ import annotations

import os

import pytest
from celery import _state

from tests.unit.fakes import FakeClock, Room


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
def _no_tasks_from_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery gives the tasks of one app to every app made later."""
    monkeypatch.setattr(_state, "_on_app_finalizers", set(_state._on_app_finalizers))
