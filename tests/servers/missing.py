"""A missing server: skipped and named at home, a failure in CI."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.programs import Program

_missing: dict[str, Program] = {}


def in_ci() -> bool:
    """Whether a skip would hide something."""
    return os.environ.get("CI", "").lower() in {"true", "1"}


def require(*programs: Program) -> None:
    """Skip the test unless every program is there; in CI, fail it."""
    for program in programs:
        if program.find() is None:
            _miss(program)


def _miss(program: Program) -> NoReturn:
    _missing[program.name] = program
    message = f"{program.name} is missing; it is installed by: {program.remedy}"
    if in_ci():
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


def table(skipped: list[str]) -> Iterator[str]:
    """A line for each missing server, given the reasons of all skipped tests."""
    width = max(map(len, _missing), default=0)
    for name, program in sorted(_missing.items()):
        count = sum(f"{name} is missing" in reason for reason in skipped)
        yield f"{name:<{width}}  {count:>4} skipped  install: {program.remedy}"
