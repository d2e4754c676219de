"""The command line: `celery -A proj locks ...`, and `celery-locks --url URL ...` where there is no app.

Both have the same verbs, each a module in `verbs`, which is imported when it is asked for: Celery imports this module
for each of its own commands.
"""

from __future__ import annotations

from typing import Any

import click

from celery_locks.cli.desk import Desk
from celery_locks.cli.group import Verbs
from celery_locks.cli.remote import offer
from celery_locks.stores.base import DEFAULT_PREFIX

__all__ = ["locks", "main"]

offer()


@click.group(cls=Verbs)
@click.option("--store", metavar="ALIAS", help="Another store of the app's lock_stores, or a URL.")
@click.pass_context
# An app may add options of its own to every command of Celery.
def locks(ctx: click.Context, /, store: str | None, **_others: Any) -> None:
    """Look at the locks of the app's jobs, and release them by hand."""
    Desk.of_app(ctx, ctx.obj.app, store)


@click.group(cls=Verbs)
@click.option("--url", envvar="CELERY_LOCK_STORE", required=True, help="The store, as in lock_store.", show_envvar=True)
@click.option(
    "--prefix",
    envvar="CELERY_LOCK_PREFIX",
    default=DEFAULT_PREFIX,
    show_default=True,
    help="As lock_prefix.",
    show_envvar=True,
)
@click.version_option(package_name="celery-locks")
@click.pass_context
def main(ctx: click.Context, /, url: str, prefix: str) -> None:
    """Look at the locks of a store, and release them by hand.

    With an app, `celery -A proj locks` also asks its workers what the holders are doing.
    """
    Desk.of_url(ctx, url, prefix)
