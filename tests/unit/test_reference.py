"""What docs/reference.md says of errors and signals is what there is."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from celery_locks import errors, events, signals

TEXT = (Path(__file__).parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")
FOR_ALL = {field.name for field in dataclasses.fields(events.Event)}


def row(name: str) -> list[str]:
    """The cells of the table row of this name."""
    [found] = [line for line in TEXT.splitlines() if line.startswith(f"| `{name}` |")]
    return [cell.strip() for cell in found.strip("|").split("|")]


@pytest.mark.parametrize(
    "error", [errors.LockError, *errors.LockError.__subclasses__()], ids=lambda error: error.__name__
)
def test_every_error_of_ours_is_listed(error):
    """With when it is raised."""
    if error.__module__ == errors.__name__:
        assert row(error.__name__)[1]


@pytest.mark.parametrize("name", [name for name in signals.__all__ if name != "Signal"])
def test_every_signal_is_listed_with_what_its_event_carries(name):
    """Each field of the record is named, and no other."""
    fields = {field.name for field in dataclasses.fields(getattr(events, name.capitalize()))}
    explained = re.sub(r"\([^)]*\)", "", row(name)[2])
    assert {*re.findall(r"`([a-z_]+)`", explained)} == fields - FOR_ALL


def test_what_every_event_has_is_listed():
    """Once, for all of them."""
    [said] = re.findall(r"Every\s+event\s+has\s+(.*?),\s+and\s+besides", TEXT, re.DOTALL)
    assert {*re.findall(r"`([a-z_]+)`", said)} == FOR_ALL
