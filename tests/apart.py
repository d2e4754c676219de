"""What keeps the Celery apps of one test from another's."""

from __future__ import annotations

import weakref

import pytest
from celery import _state

#: Where each app gets what is Celery's own. Whatever else it would get is some test's.
OWN = {"celery.app.builtins"}


@pytest.fixture(autouse=True)
def no_apps_from_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Celery gives a shared task to every app made later, and to every app that is not yet collected as garbage.

    Another test's app may be one whose settings are wrong on purpose.
    """
    ours = {each for each in _state._on_app_finalizers if each.__module__ in OWN}
    monkeypatch.setattr(_state, "_on_app_finalizers", ours)
    monkeypatch.setattr(_state, "_apps", weakref.WeakSet())
    monkeypatch.setattr(_state._tls, "current_app", None)
    monkeypatch.setattr(_state, "default_app", None)
