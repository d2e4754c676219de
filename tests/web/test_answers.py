"""What the page is told, and what a release from it does."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
from urllib.parse import quote

import pytest
from celery import Celery

from celery_locks.cli.web import window
from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Claim, new_owner
from celery_locks.stores import open_store
from celery_locks.stores.memory import MemoryStore
from celery_locks.stores.operations import Evicts
from tests.web.visitor import served, take

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


def test_a_key_is_shown_with_all_that_is_known(store, site):
    """Its holders, and where the store keeps no line or memory null."""
    lease = take(store, "wallet:42")
    said = site.one("wallet:42")
    assert [each["fence"] for each in said["holders"]] == [str(lease.fence)]
    assert (said["line"], said["waiting"], said["conflicts"]) == (None, None, None)
    assert site.one("free")["holders"] == []
    assert site.get("/api/stats").said == {"tallies": None}


def test_locks_are_shown_where_no_conflicts_can_be(tmp_path):
    """Something else has the name of their table: for the page it is as if nobody remembered any."""
    file = tmp_path / "locks.db"
    with contextlib.closing(sqlite3.connect(file)) as other:
        other.execute("CREATE TABLE celery_locks_conflicts (mine INTEGER)")
    with contextlib.closing(open_store(f"sql+sqlite:///{file}")) as store, served(store) as site:
        take(store, "wallet:42")
        assert site.get("/api/stats").said == {"tallies": None}
        assert (len(site.rows()), site.one("wallet:42")["conflicts"]) == (1, None)


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


def test_one_of_several_holders_is_not_put_out_where_the_store_cannot_tell_them_apart():
    """It says so, and all keep the key."""
    store = MemoryStore()
    leases = [store.acquire(Claim("api", new_owner("bank.call[7]"), 30.0, slots=2)) for _ in range(2)]
    with served(store) as site:
        assert [each["fence"] for each in site.one("api")["holders"]] == [str(lease.fence) for lease in leases]
        answer = site.release("api", str(leases[0].fence))
        assert (answer.status, "cannot free it from one of them alone" in answer.said["error"]) == (400, True)
    assert len(store.holders("api")) == 2


def test_what_holders_do_is_asked_of_the_workers(store, monkeypatch):
    """When none answers, or the broker does not, that is the answer; plain code has no job."""
    monkeypatch.setattr(window, "PATIENCE", 0.2)
    take(store, "wallet:42")
    take(store, "door", "lock")
    with contextlib.closing(Celery("bank", broker="memory://", set_as_current=False)) as app:
        with served(store, app) as site:
            assert site.get("/api/locks").said["asks"] is True
            [job] = site.get("/api/jobs?key=wallet:42").said["jobs"]
            assert "no worker answered" in job["why"]
            [job] = site.get("/api/jobs?key=door").said["jobs"]
            assert "held by plain code" in job["why"]
        app.conf.broker_url = "redis://:secret@127.0.0.1:1/0"
        with served(store, app) as site:
            [job] = site.get("/api/jobs?key=wallet:42").said["jobs"]
    assert job["why"].startswith("the broker could not be asked")
    assert "secret" not in json.dumps(job)
