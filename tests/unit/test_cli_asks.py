"""`release` at a terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from celery_locks import Locks
from celery_locks.lease import Claim, new_owner
from tests.commands import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator


class Prompt:
    """A release that asks, at a terminal of its own."""

    def __init__(self, url: str) -> None:
        self._keyboard, terminal = pty.openpty()
        words = [sys.executable, "-m", "celery_locks", "--url", url, "release", "wallet:42"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(words, stdin=terminal, stdout=pipe, stderr=pipe, env=environment)
        os.close(terminal)

    def question(self) -> str:
        """What it asks."""
        text = b""
        while b"[y/N]" not in text:
            part = os.read(self._process.stderr.fileno(), 1000)
            assert part, f"it ended instead of asking, and said {text!r}"
            text += part
        return text.decode()

    def answer(self, text: str) -> tuple[int, str]:
        """How it ends, and what it says."""
        os.write(self._keyboard, f"{text}\n".encode())
        out, err = self._process.communicate(timeout=60)
        return self._process.returncode, (out + err).decode()

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        os.close(self._keyboard)


@pytest.fixture
def locks(tmp_path) -> Locks:
    """On this machine's disk: another process sees them."""
    return Locks(f"file://{tmp_path}/locks")


@pytest.fixture
def lease(locks):
    return locks.store.acquire(Claim("wallet:42", new_owner("shop.withdraw[6b1c]"), 30.0))


@pytest.fixture
def prompt(lease, tmp_path) -> Iterator[Prompt]:
    assert lease.held()
    prompt = Prompt(f"file://{tmp_path}/locks")
    yield prompt
    prompt.close()


def test_it_shows_whom_it_would_release_and_goes_by_the_answer(locks, lease, prompt):
    """The key, its holder, since when, and the fence; after a yes the key is free."""
    question = prompt.question()
    assert question.startswith(
        f"Release wallet:42, held by shop.withdraw[6b1c]@{os.uname().nodename}:{os.getpid()} since "
    )
    assert f"(fence {lease.fence})? [y/N]" in question
    code, said = prompt.answer("y")
    assert (code, locks.locked("wallet:42")) == (0, False), said
    assert "lock_on_lost" in said


def test_no_is_no(locks, prompt):
    """An empty answer too: exit code 1, and the key is as it was."""
    prompt.question()
    code, said = prompt.answer("")
    assert (code, locks.locked("wallet:42")) == (1, True)
    assert "nothing was changed" in said


def test_who_came_while_the_operator_thought_keeps_the_key(locks, lease, prompt):
    """The answer was about the holder that was shown: no other is put out."""
    prompt.question()
    assert locks.store.release(lease.claim)
    after = locks.store.acquire(Claim("wallet:42", new_owner("shop.withdraw[next]"), 30.0))
    code, said = prompt.answer("y")
    assert (code, locks.holder("wallet:42").owner) == (1, after.owner)
    assert "is not held by shop.withdraw[6b1c]@" in said
