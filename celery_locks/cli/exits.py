"""How a command ends. Scripts read these numbers: they stay."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

import click

from celery_locks.cli.printing import line_of_json
from celery_locks.errors import LockConfigError, LockError, StoreUnavailable

#: The answer is no: the key is free, its holder is another, or the operator said no. Nothing was changed.
NO = 1


class Failed(click.ClickException):
    """A command that could not do what it was asked: one line on standard error, and an exit code."""

    exit_code: ClassVar[int] = NO

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class Misused(Failed):
    """The command makes no sense as it was given, or the app's settings do not."""

    exit_code = 2


class Unreached(Failed):
    """The store cannot be reached, or cannot say."""

    exit_code = 3


class Unable(Failed):
    """The store can do no such thing."""

    exit_code = 4


def no(message: str, *, as_json: bool, **told: Any) -> NoReturn:
    """End with the answer no, and say why."""
    if as_json:
        line_of_json({**told, "why": message})
    else:
        click.echo(message, err=True)
    raise click.exceptions.Exit(NO)


def failure(error: LockError) -> Failed:
    """An error of a lock as a command says it."""
    if isinstance(error, StoreUnavailable):
        return Unreached(error.message)
    return Misused(error.message) if isinstance(error, LockConfigError) else Failed(error.message)
