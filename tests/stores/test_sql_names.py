"""How prefix, key and owner are written into a table."""

from __future__ import annotations

import random

import pytest

from celery_locks.errors import LockConfigError
from celery_locks.stores.sql import table


def test_prefix_and_key_are_never_another_pair() -> None:
    """The digest keeps apart what reads the same when it is joined."""
    pairs = [("a:", "b:c"), ("a:b:", "c"), ("", "a:b:c"), ("1", "0:x"), ("10", ":x"), ("", "10:x")]
    assert len({table.digest(*pair) for pair in pairs}) == len(pairs)


def test_texts_are_read_as_they_were_written() -> None:
    """Whatever a text has of backslashes and NULs comes back."""
    dice = random.Random(1)
    for _ in range(2000):
        text = "".join(dice.choice("a\\0\0") for _ in range(dice.randrange(8)))
        assert table.read(table.written(text)) == text
        assert "\0" not in table.written(text)


def test_a_name_that_is_no_text_is_a_mistake() -> None:
    """A stray surrogate cannot be written: the error says so."""
    for digested in (lambda text: table.digest("lock:", text), table.holder):
        with pytest.raises(LockConfigError, match="surrogate"):
            digested("wallet:\ud800")
