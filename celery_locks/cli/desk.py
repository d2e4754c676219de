"""Where a command stands: the store it asks, and the app it was given, if any."""

from __future__ import annotations

import warnings
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import click

from celery_locks import config
from celery_locks.cli.exits import Unable
from celery_locks.locks import Locks
from celery_locks.stores import Inspects, hidden

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.stores import Store

_HERE = "celery_locks.desk"


class Desk:
    """Opens the store when a verb first asks for it, and closes it at the end."""

    def __init__(
        self, ctx: click.Context, settings: Callable[[], Any], app: Any = None, alias: str | None = None
    ) -> None:
        self._ctx = ctx
        self._settings = settings
        self.app = app
        #: The store that the command names; None: the app's, or that of the URL.
        self.alias = alias
        # Not as click's own object: with an app that is Celery's.
        ctx.meta.setdefault(_HERE, self)

    @classmethod
    def of_app(cls, ctx: click.Context, app: Any, alias: str | None) -> Desk:
        """That of a Celery app."""
        return cls(ctx, partial(_of_app, app, alias), app, alias)

    def another(self, alias: str | None) -> Desk:
        """The one at which another store of the same app is asked."""
        return Desk(self._ctx, partial(_of_app, self.app, alias), self.app, alias)

    @classmethod
    def of_url(cls, ctx: click.Context, url: str, prefix: str) -> Desk:
        """That of whoever knows no more than where the store is."""
        return cls(ctx, lambda: config.StoreSettings(url, prefix, {}, "--url"))

    @classmethod
    def here(cls) -> Desk:
        """That of the command that runs now."""
        desk: Desk = click.get_current_context().meta[_HERE]
        return desk

    @cached_property
    def settings(self) -> Any:
        """Which store it is."""
        return self._settings()

    @property
    def place(self) -> str:
        """Where it is, without a password."""
        return hidden(self.settings.url)[1:-1]

    @cached_property
    def store(self) -> Store:
        """The store. Nothing is connected yet."""
        url, prefix, options, _ = self.settings
        store = Locks(url, prefix=prefix, **options).store
        self._ctx.call_on_close(store.close)
        if not isinstance(store, Inspects):
            raise Unable(f"{self.place} cannot show what it holds: its store does not offer that")
        if store.in_process:
            note(f"{self.place} is the memory of one process: what other processes hold is not seen from here")
        return store


def note(text: str) -> None:
    """Say something that is no part of the answer."""
    click.echo(f"Note: {text}", err=True)


def _of_app(app: Any, alias: str | None) -> config.StoreSettings:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        settings = config.store_settings(app.conf, alias)
    for each in said:
        note(str(each.message))
    return settings
