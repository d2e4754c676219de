"""What `celery_locks` shows, and what importing it costs."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import json
import subprocess
import sys

import pytest

import celery_locks

IMPORTS = """
import sys, json
import celery_locks
imported = list(sys.modules)
celery_locks.Locks("memory://").run("a", int)
print(json.dumps([imported, list(sys.modules)]))
"""


@pytest.fixture(scope="module")
def modules() -> list[list[str]]:
    """What a fresh interpreter has after importing the package, and after using it."""
    answer = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=True)
    return json.loads(answer.stdout)


def test_a_guard_imports_no_library_but_its_own():
    """Django and SQLAlchemy are extras; the guard for Redis is given its client."""
    code = "import json, sys, celery_locks.fencing, celery_locks.fencing.redis; print(json.dumps(list(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"django", "sqlalchemy", "redis"} & set(json.loads(answer.stdout))


def test_all_is_sorted():
    """Upper case first, as `sorted` puts it."""
    assert sorted(celery_locks.__all__) == celery_locks.__all__


def test_everything_in_all_is_there():
    """Each name can be imported, the lazy ones too."""
    assert [name for name in celery_locks.__all__ if getattr(celery_locks, name, None) is None] == []


def test_everything_public_is_in_all():
    """What can be seen and is neither a module nor private is exported."""
    seen = {
        name
        for name, value in vars(celery_locks).items()
        if not name.startswith("_")
        and not inspect.ismodule(value)
        and name not in ("annotations", "TYPE_CHECKING", "import_module")
    }
    assert seen <= set(celery_locks.__all__)


@pytest.mark.parametrize("name", ["errors", "events", "signals"])
def test_the_rooms_users_look_into_are_there(name):
    """`celery_locks.signals` needs no import of its own."""
    assert inspect.ismodule(getattr(celery_locks, name))


def test_everything_exported_is_documented():
    """Each has a docstring of its own."""
    exported = [getattr(celery_locks, name) for name in celery_locks.__all__]
    assert [each for each in exported if not (each.__doc__ or "").strip()] == []


def test_a_lazy_name_is_the_real_one():
    """`celery_locks.LockedTask` is the class of its module."""
    assert celery_locks.LockedTask is importlib.import_module("celery_locks.task").LockedTask


def test_the_version_is_the_distributions():
    """Looked up when asked for."""
    try:
        installed = importlib.metadata.version("celery-locks")
    except importlib.metadata.PackageNotFoundError:
        with pytest.raises(importlib.metadata.PackageNotFoundError):
            _ = celery_locks.__version__
    else:
        assert celery_locks.__version__ == installed


def test_an_unknown_name_is_an_attribute_error():
    """As in any module."""
    with pytest.raises(AttributeError, match="module 'celery_locks' has no attribute 'LockTask'"):
        _ = celery_locks.LockTask


@pytest.mark.parametrize("module", ["celery", "kombu", "billiard", "redis", "celery_locks.task"])
def test_importing_the_package_does_not_import(modules, module):
    """Plain code that only wants `Locks` pays for no Celery and no client."""
    imported, _ = modules
    assert "celery_locks" in imported
    assert module not in imported


@pytest.mark.parametrize("module", ["celery", "redis"])
def test_using_memory_locks_does_not_import(modules, module):
    """A store's client is imported by its store, Celery by the faces that need it."""
    _, used = modules
    assert "celery_locks.stores.memory" in used
    assert module not in used
