"""What one visitor may take: so many rows, so many bytes, so much time."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading

import pytest

from celery_locks.cli.web import server as serving
from celery_locks.cli.web import visit
from celery_locks.lease import Holding
from celery_locks.stores.memory import MemoryStore
from tests.waiting import wait_until
from tests.web.visitor import PATIENCE, served, take


class _Endless(MemoryStore):
    def list(self, _pattern="*"):
        return itertools.repeat(Holding("wallet:42", "anna", 1, 30.0))


def test_a_body_has_its_bounds(site):
    """Too long, of no length, of a wrong one, or cut off: none is waited for."""
    for length, status in [("65537", 413), ("9" * 30, 413), (None, 411), ("-1", 411), ("many", 411)]:
        assert site.ask("POST", "/api/release", None, Content_Length=length).status == status
    with socket.create_connection((site.host, site.port), PATIENCE) as line:
        line.sendall(b"POST /api/release HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{}")
        line.shutdown(socket.SHUT_WR)
        assert b" 400 " in line.makefile("rb").readline()


def test_an_endless_address_is_refused(site):
    """Nobody's memory is filled with it."""
    assert site.get(f"/api/lock?key={'x' * 70_000}").status == 414


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"{", b'{"key": 7, "fence": "1"}', b'{"fence": "1"}', b"\xff"])
def test_what_is_no_question_is_refused(site, body):
    """With the status of a mistake, and never with a traceback."""
    answer = site.ask("POST", "/api/release", body)
    assert (answer.status, b"Traceback" in answer.body) == (400, False)


def test_a_client_that_says_nothing_holds_up_nobody(site, monkeypatch):
    """Nor do many, nor one that sends a byte now and then: each has a few seconds for all it has to say."""
    silent = [socket.create_connection((site.host, site.port), PATIENCE) for _ in range(serving.AT_A_TIME - 2)]
    assert site.get("/api/locks").status == 200
    for line in silent:
        line.close()
    monkeypatch.setattr(visit, "TO_READ", 0.2)
    with socket.create_connection((site.host, site.port), PATIENCE) as line:
        line.sendall(b"GET / HTTP/1.1\r\n")
        ended = threading.Event()

        def drip() -> None:
            with contextlib.suppress(OSError):
                while not ended.wait(0.02):
                    line.send(b"X-Slow: 1\r\n")

        dripping = threading.Thread(target=drip)
        dripping.start()
        try:
            assert _all_of(line) == b""
        finally:
            ended.set()
            dripping.join(PATIENCE)


def _all_of(line: socket.socket) -> bytes:
    """What comes until the other side has closed, which may be by a reset."""
    try:
        return line.recv(1)
    except ConnectionResetError:
        return b""


def test_too_many_at_a_time_are_turned_away_at_once(store, monkeypatch):
    """And those who come when the others have gone are answered."""
    monkeypatch.setattr(serving, "AT_A_TIME", 1)
    with served(store) as site, contextlib.ExitStack() as lines:
        # The first has a thread when the second is looked at: they are accepted in order.
        _, second = [lines.enter_context(socket.create_connection((site.host, site.port), PATIENCE)) for _ in range(2)]
        assert b" 503 " in second.makefile("rb").readline()
    with served(store) as site:
        with socket.create_connection((site.host, site.port), PATIENCE):
            pass
        wait_until(lambda: _is_answered(site), "the page to answer again")


def _is_answered(site):
    try:
        return site.get("/").status == 200
    except ConnectionError:
        return False


def test_a_long_list_is_shown_in_part(store, site):
    """So many as are asked for, never more than the most, and that there are more."""
    for number in range(230):
        take(store, f"wallet:{number}")
    for asked, shown in [("", 200), ("&most=7", 7), ("&most=99999999999999", 200), ("&most=0", 1), ("&most=-1", 200)]:
        said = site.get(f"/api/locks?pattern=*{asked}").said
        assert (len(said["rows"]), said["more"]) == (shown, True)
    with served(_Endless()) as endless:
        assert endless.get("/api/locks").said["more"] is True
    said = site.get("/api/locks?most=2000").said
    assert (len(said["rows"]), said["more"]) == (230, False)
