"""A Django project of one app, in the process of the tests. Its database is whichever `served()` says."""

from __future__ import annotations

import contextlib
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import django
import pymysql
from django.conf import settings
from django.db import connections

if TYPE_CHECKING:
    from collections.abc import Iterator

ENGINES = {"postgresql": "postgresql", "mysql": "mysql", "sqlite": "sqlite3"}


@contextlib.contextmanager
def _pymysql_for_django() -> Iterator[None]:
    """Django imports mysqlclient. Whoever asks for that later is to find what was there before."""
    before = {name: sys.modules.get(name) for name in ("MySQLdb", "_mysql")}
    pymysql.install_as_MySQLdb()
    try:
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module


def _set_up() -> None:
    with _pymysql_for_django():
        settings.configure(
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
            DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
            INSTALLED_APPS=[__name__],
            LOGGING_CONFIG=None,
            # Whoever looks at every object of the process, as pytest-celery does, wakes up Django's lazy ones.
            STATIC_URL="static/",
            USE_TZ=True,
        )
        django.setup()
        import_module("django.db.backends.mysql.base")  # while its driver can be found


def options(url: str, **more: Any) -> dict[str, Any]:
    """What Django calls the parts of a URL; whatever else is given goes to the backend."""
    parts = urlsplit(url)
    engine = f"django.db.backends.{ENGINES[parts.scheme]}"
    if parts.scheme == "sqlite":
        return {"ENGINE": engine, "NAME": parts.path, "OPTIONS": {"timeout": 20, **more}}
    login = {"NAME": parts.path[1:], "HOST": parts.hostname, "PORT": parts.port, "USER": parts.username}
    tls = {"ssl_disabled": True} if parts.scheme == "mysql" else {}
    return {"ENGINE": engine, **login, "OPTIONS": {**tls, **more}}


@contextlib.contextmanager
def served(url: str, alias: str = "default", **more: Any) -> Iterator[None]:
    """Put this database under that alias, for the threads that begin to use it now."""
    before = connections.settings.get(alias)
    ours = {"default": {}, alias: options(url, **more)}
    connections.settings[alias] = connections.configure_settings(ours)[alias]
    _forget(alias)
    try:
        yield
    finally:
        _forget(alias)
        connections.settings[alias] = before
        if before is None:
            del connections.settings[alias]


def _forget(alias: str) -> None:
    if alias in (each.alias for each in connections.all(initialized_only=True)):
        connections[alias].close()
        del connections[alias]


def make_tables(*models: Any, alias: str = "default") -> None:
    with connections[alias].schema_editor() as editor:
        for model in models:
            editor.create_model(model)


@contextlib.contextmanager
def own_connection(alias: str = "default") -> Iterator[None]:
    """For a thread, which has one of its own and leaves none behind."""
    try:
        yield
    finally:
        connections[alias].close()


_set_up()
