"""The group of verbs."""

from __future__ import annotations

import importlib
from typing import Any

import click

from celery_locks.cli.exits import failure
from celery_locks.errors import LockError

#: In the order in which the help shows them. Each is a module in `verbs`, whose command is called `verb`.
VERBS = ("list", "show", "release", "slots", "stats", "top", "purge", "init", "doctor", "web")


class Verbs(click.Group):
    """Finds each verb in its module, and says what went wrong with a lock in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's name for it
        """All verbs."""
        return [*VERBS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - the same
        """One of them."""
        if cmd_name not in VERBS:
            return None
        verb: click.Command = importlib.import_module(f"celery_locks.cli.verbs.{cmd_name}").verb
        return verb

    def invoke(self, ctx: click.Context) -> Any:
        """Do what a verb does."""
        try:
            return super().invoke(ctx)
        except LockError as error:
            raise failure(error) from error
