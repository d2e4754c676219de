"""The keys of a terminal, the thread that asks, and what scripts read."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import termios
import threading
import uuid

import pytest

from celery_locks import Locks
from celery_locks.cli.top.clerk import Clerk
from celery_locks.cli.top.keyboard import Keyboard, keys
from celery_locks.cli.top.reading import Breach, Frame, Said, Subject
from celery_locks.lease import Claim, new_owner
from tests.commands import celery_locks

ALL, ONE = Subject("*"), Subject("*", "wallet:42")
PATIENCE = 20


@pytest.mark.parametrize(
    ("sent", "pressed"),
    [
        ("q", ["q"]),
        ("\x1b[A\x1bOBj", ["up", "down", "j"]),
        ("\x1b", ["escape"]),
        ("\r\x7f", ["enter", "backspace"]),
        ("\x1b[5~\x1b[6~\x1b[H\x1b[F", ["page up", "page down", "home", "end"]),
        ("\x1b[1;5C\x1b[200~é\x01", ["é"]),
    ],
)
def test_keys_are_told_from_what_they_send(sent, pressed):
    """By name where they have no letter; what means nothing here is left out."""
    assert keys(sent) == pressed


def test_a_letter_may_come_in_two_pieces():
    """As over a slow line; and a terminal that is gone ends it."""
    ours, theirs = os.pipe()
    keyboard = Keyboard(ours)
    os.write(theirs, "é".encode()[:1])
    assert keyboard.read() == []
    os.write(theirs, "é".encode()[1:])
    assert keyboard.read() == ["é"]
    os.close(theirs)
    assert keyboard.read() is None
    os.close(ours)
    assert keyboard.read() is None


def test_a_terminal_gets_its_settings_back_whatever_happens():
    """And what was typed meanwhile does not reach the shell."""
    ours, theirs = pty.openpty()
    try:
        before = termios.tcgetattr(theirs)
        with contextlib.suppress(ZeroDivisionError), Keyboard(theirs).held():
            assert termios.tcgetattr(theirs) != before
            os.write(ours, b"rm\n")
            assert select.select([theirs], [], [], PATIENCE)[0]
            raise ZeroDivisionError
        assert termios.tcgetattr(theirs) == before
        assert not select.select([theirs], [], [], 0)[0]
    finally:
        os.close(ours)
        os.close(theirs)


def heard(clerk, count):
    """The next answers."""
    found = []
    while len(found) < count:
        assert select.select([clerk.fd], [], [], PATIENCE)[0], "no answer"
        found += clerk.answers()
    return found


def test_the_store_is_asked_again_and_again_and_at_once_when_told():
    """For what it was told last; and after a lock is broken the store is looked at."""
    asked = []

    def ask(what):
        asked.append(what)
        return Said("done") if isinstance(what, Breach) else Frame(what, 0.0)

    with Clerk(ask, ALL, every=3600.0) as clerk:
        assert heard(clerk, 1) == [Frame(ALL, 0.0)]
        clerk.tell(ONE)
        assert heard(clerk, 1) == [Frame(ONE, 0.0)]
        clerk.tell(Breach("wallet:42", None))
        assert heard(clerk, 2) == [Said("done"), Frame(ONE, 0.0)]
    with Clerk(ask, ALL, every=0.001) as clerk:
        assert set(heard(clerk, 3)) == {Frame(ALL, 0.0)}


def test_a_store_that_hangs_keeps_nobody_from_leaving():
    """Whoever quits does not wait for it."""
    hangs, goes_on = threading.Event(), threading.Event()

    def ask(what):
        hangs.set()
        goes_on.wait(PATIENCE)
        return Frame(what, 0.0)

    with Clerk(ask, ALL, every=1.0) as clerk:
        assert hangs.wait(PATIENCE)
        assert list(clerk.answers()) == []
    goes_on.set()


def test_scripts_read_one_look():
    """As a table or as JSON, in the order that is asked for; nothing of it needs a terminal."""
    url = f"memory://{uuid.uuid4().hex}"
    for key in ("wallet:2", "wallet:1", "report"):
        Locks(url).store.acquire(Claim(key, new_owner("shop.withdraw[6b1c]"), 30.0))
    ended = celery_locks(url, "top", "wallet:*", "--sort", "key", "--json")
    assert (ended.code, [line["key"] for line in ended.said]) == (0, ["wallet:1", "wallet:2"])
    assert {"fence", "owner", "age", "remaining", "waiting", "conflicts"} < ended.said[0].keys()
    titles, *lines = celery_locks(url, "top", "--once").out.splitlines()
    assert titles.split() == ["KEY", "AGE", "TTL", "WAITING", "CONFLICTS", "HOLDER"]
    assert len(lines) == 3
    ended = celery_locks(url, "top", "none:*", "--once")
    assert (ended.code, ended.out) == (0, "")
    assert "no key that matches 'none:*' is held" in ended.err


def test_without_a_terminal_there_is_no_live_view():
    """Exit code 2, and what to add."""
    ended = celery_locks(f"memory://{uuid.uuid4().hex}", "top")
    assert (ended.code, ended.out) == (2, "")
    assert "add --once, or --json" in ended.err
