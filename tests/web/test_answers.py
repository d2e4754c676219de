"""What the page is told, and what a release from it does."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from urllib.parse import quote

import pytest

from celery_locks.cli.web import server as serving
from celery_locks.cli.web import visit
from celery_locks.errors import StoreUnavailable
from celery_locks.stores import open_store
from celery_locks.stores.memory import MemoryStore
from celery_locks.stores.operations import Evicts
from tests.waiting import wait_until
from tests.web.visitor import PATIENCE, served, take

DOWN = "the store at redis://bank:6379/0 did not answer: is it up?"
MARKUP = "<img src=x onerror=alert(1)>\u202e\n"


def test_the_list_says_who_has_what(store, site):
    """Key, task, process, ttl and fence; what the store cannot tell is null."""
    lease = take(store, "wallet:42")
    take(store, "door", "lock")
    [row] = site.rows("/api/locks?pattern=wallet:*")
    assert (row["key"], row["task"], row["task_id"]) == ("wallet:42", "bank.withdraw", "6b1c")
    assert row["fence"] == str(lease.fence)
    assert 0 < row["remaining"] <= 30
    assert (row["age"], row["waiting"]) == (None, None)
    assert {each["key"]: each["task"] for each in site.rows()} == {"wallet:42": "bank.withdraw", "door": None}


def test_a_long_list_is_shown_in_part(store, site):
    """So many as are asked for, never more than the most, and that there are more."""
    for number in range(230):
        take(store, f"wallet:{number}")
    for asked, shown in [("", 200), ("&most=7", 7), ("&most=99999999999999", 200), ("&most=0", 1), ("&most=-1", 200)]:
        said = site.get(f"/api/locks?pattern=*{asked}").said
        assert (len(said["rows"]), said["more"]) == (shown, True)
    said = site.get("/api/locks?most=2000").said
    assert (len(said["rows"]), said["more"]) == (230, False)


def test_a_key_is_shown_with_all_that_is_known(store, site):
    """Its holders, and where the store keeps no line or memory null."""
    lease = take(store, "wallet:42")
    said = site.one("wallet:42")
    assert [each["fence"] for each in said["holders"]] == [str(lease.fence)]
    assert (said["line"], said["waiting"], said["conflicts"]) == (None, None, None)
    assert site.one("free")["holders"] == []
    assert site.get("/api/stats").said == {"tallies": None}


def test_a_key_comes_as_it_is_and_as_it_can_be_shown(store, site):
    """What is sent back is exact; what is shown has no letter that could turn or hide the others."""
    lease = take(store, MARKUP, f"{MARKUP}[6b1c]")
    for told in (site.rows()[0], site.one(MARKUP)):
        assert told["key"] == MARKUP
        assert told["shown"] == "<img src=x onerror=alert(1)>\\u202e\\n"
    row = site.rows()[0]
    assert all(row[name].isprintable() for name in ("shown", "task", "owner", "brief"))
    answer = site.get(f"/api/lock?key={quote(MARKUP)}")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert site.release(MARKUP, str(lease.fence)).status == 200


def test_a_release_frees_the_key_and_says_what_becomes_of_the_job(store, site):
    """And whoever has started the page reads it at their terminal."""
    lease = take(store, "wallet:42")
    answer = site.release("wallet:42", str(lease.fence))
    assert (answer.status, store.inspect("wallet:42")) == (200, None)
    assert "lock_on_lost" in answer.said["effect"]
    # A store that compares nothing says so.
    assert "looked at just before" in answer.said["note"]
    assert len(site.told) == 1
    assert site.told[0].startswith("released wallet:42, held by bank.withdraw[6b1c]@")


def test_the_next_holder_keeps_what_was_taken_meanwhile(store, site):
    """409: the page was looked at for too long, and the one that was shown has gone."""
    seen = take(store, "wallet:42")
    store.release(seen.claim)
    after = take(store, "wallet:42")
    answer = site.release("wallet:42", str(seen.fence))
    assert answer.status == 409
    assert "not held by the one that was shown any more: nothing was changed" in answer.said["error"]
    assert store.inspect("wallet:42").fence == after.fence
    assert site.told == []


def test_a_release_that_comes_twice_frees_once(store, site):
    """A double click, or one sent again because its answer was lost: the second finds another, or nobody."""
    lease = take(store, "wallet:42")
    assert [site.release("wallet:42", str(lease.fence)).status for _ in range(2)] == [200, 409]
    assert len(site.told) == 1


class _Snatched(MemoryStore, Evicts):
    """A key that changes hands between the look and the release."""

    def evict(self, key, fence):
        held = self.inspect(key)
        self.force_release(key)
        take(self, key, "thief")
        assert held.fence == fence
        return False


def test_a_key_that_changes_hands_in_between_is_not_taken_from_its_next_holder():
    """The store compares, and its word counts."""
    store = _Snatched()
    lease = take(store, "wallet:42")
    with served(store) as site:
        assert site.release("wallet:42", str(lease.fence)).status == 409
    assert "thief" in store.inspect("wallet:42").owner


@pytest.mark.parametrize("fence", [None, 7, True, "", "-1", "1.0", "7" * 5000, "\u0667", ["7"], "0x1"])
def test_a_release_names_the_holder_it_means(store, site, fence):
    """There is none that frees a key whoever has it."""
    take(store, "wallet:42")
    assert site.release("wallet:42", fence).status == 400
    assert store.inspect("wallet:42") is not None


@pytest.mark.parametrize("body", [b"", b"[]", b"7", b"{", b'{"key": 7, "fence": "1"}', b'{"fence": "1"}', b"\xff"])
def test_what_is_no_question_is_refused(site, body):
    """With the status of a mistake, and never with a traceback."""
    answer = site.ask("POST", "/api/release", body)
    assert (answer.status, b"Traceback" in answer.body) == (400, False)


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


class _Down(MemoryStore):
    def list(self, _pattern="*"):
        raise StoreUnavailable(DOWN)

    def holders(self, _key):
        raise RuntimeError("redis://:secret@bank:6379/0 is broken")


def test_a_store_that_cannot_be_reached_is_said_on_the_page():
    """What is wrong with it in its own words; of what nobody has foreseen only its kind, for it may name a password."""
    with served(_Down()) as site:
        answer = site.get("/api/locks")
        assert (answer.status, answer.said["error"]) == (503, DOWN)
        for answer in (site.get("/api/lock?key=a"), site.release("a", "1")):
            assert answer.status == 500
            assert b"RuntimeError" in answer.body
            assert b"secret" not in answer.body
            assert b"Traceback" not in answer.body


def test_a_client_that_says_nothing_holds_up_nobody(site, monkeypatch):
    """Nor do many, nor one that sends a byte now and then: each has a few seconds for all it has to say."""
    with_patience = [socket.create_connection((site.host, site.port), PATIENCE) for _ in range(serving.AT_A_TIME - 1)]
    assert site.get("/api/locks").status == 200
    for line in with_patience:
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


def test_the_workers_are_asked_only_where_there_is_an_app(site):
    """Without one the page says how to start it with one."""
    assert "celery -A proj locks web" in site.get("/api/jobs?key=a").said["error"]


def test_the_page_is_served_at_ipv6_as_well(store):
    """At its own address, in brackets."""
    if not socket.has_ipv6 or not _has_ipv6():
        return
    with served(store, host="::1") as site:
        assert site.url.startswith("http://[::1]:")
        assert site.get("/api/locks").status == 200


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def test_a_store_of_this_machine_is_shown_as_every_other(tmp_path):
    """Files, whose locks end with their process."""
    store = open_store(f"file://{tmp_path}/locks")
    take(store, "wallet:42")
    with served(store) as site:
        [row] = site.rows()
        assert (row["remaining"], row["age"] is not None) == (None, True)
        assert json.dumps(site.one("wallet:42"))
    store.close()
