"""Commands as an operator gives them, in the process of a test."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from click.testing import CliRunner

from celery_locks.cli import main


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> list[Any]:
        """The objects it printed."""
        return [json.loads(line) for line in self.out.splitlines()]


def run(command: Any, *words: object, **options: Any) -> Ended:
    """Any command. An exception that is no exit is the test's."""
    ended = CliRunner().invoke(command, [str(word) for word in words], prog_name="celery-locks", **options)
    if ended.exception is not None and not isinstance(ended.exception, SystemExit):
        raise ended.exception
    return Ended(ended.exit_code, ended.stdout, ended.stderr)


def celery_locks(url: str, *words: object, **options: Any) -> Ended:
    """`celery-locks --url URL ...`."""
    return run(main, "--url", url, *words, **options)
