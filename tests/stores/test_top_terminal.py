"""The live view at a real terminal, over a real Redis."""

from __future__ import annotations

import contextlib
import signal

import pytest

from celery_locks.lease import Busy, Claim, Lease, Verdict, new_owner
from celery_locks.stores import open_store
from celery_locks.ticket import Stance, Ticket, ticket_of
from tests.servers.process import HOST, free_port
from tests.stores.contract import verdict
from tests.stores.terminal import terminal

TOP = ("-m", "celery_locks", "--url")


def test_an_operator_watches_and_breaks_a_lock(redis_url: str) -> None:
    """He sees who holds what and who waits, looks at one key, breaks its lock, and has his terminal back.

    The lock of another who has taken the key since is not broken.
    """
    with (
        contextlib.closing(open_store(redis_url)) as store,
        terminal(*TOP, redis_url, "top", "--every", "0.2") as there,
    ):
        leases = {key: _taken(store, key) for key in ("wallet:42", "wallet:7", "report:1")}
        waiter = new_owner("bank.withdraw[next]")
        next_one = Claim("wallet:42", waiter, 60.0, ticket=Ticket(ticket_of(waiter), Stance.WAITS))
        assert isinstance(store.acquire(next_one), Busy)
        there.wait_for("CONFLICTS", "wallet:42", "wallet:7", "report:1", "3 keys held, 1 waiting", "q quit")

        there.type("\r")
        there.wait_for("wallet:42 is held", f"fence {leases['wallet:42'].fence}", "queue", "esc back")
        there.type("b")
        there.wait_for("Release wallet:42, held by bank.withdraw[now]@", f"(fence {leases['wallet:42'].fence})?")
        assert store.force_release("wallet:42")
        heir = store.acquire(next_one)
        assert isinstance(heir, Lease)
        there.type("y")
        there.wait_for("any more: nothing was changed", f"fence {heir.fence}")
        assert verdict(store, heir) is Verdict.RENEWED

        there.type("b")
        there.wait_for(f"(fence {heir.fence})?")
        there.type("y")
        there.wait_for("Released wallet:42, held by", "Its job was not stopped", "wallet:42 is free")
        assert verdict(store, heir) is Verdict.LOST
        assert verdict(store, leases["wallet:7"]) is Verdict.RENEWED

        there.type("\x1b")
        there.wait_for("2 keys held")
        there.type("/repo\r")
        there.wait_for("1 key held, 0 waiting, of *repo*")
        there.type("q")
        assert there.wait_until_ended() == 0
        assert there.is_as_before()


@pytest.mark.parametrize(("end", "code"), [("\x03", 0), (signal.SIGTERM, 128 + signal.SIGTERM)], ids=["ctrl-c", "term"])
def test_a_store_that_is_not_there_is_shown_and_the_terminal_given_back(end, code) -> None:
    """It is asked again and again; Ctrl-C ends the view as q does, and a signal as it ends other programs."""
    with terminal(*TOP, f"redis://:secret@{HOST}:{free_port()}/0", "top", "--every", "0.1") as there:
        assert "secret" not in there.wait_for("No answer for", "it is asked again", "q quit")
        if isinstance(end, str):
            there.type(end)
        else:
            there.signal(end)
        assert there.wait_until_ended() == code
        assert there.is_as_before()


def _taken(store, key: str) -> Lease:
    lease = store.acquire(Claim(key, new_owner("bank.withdraw[now]"), 60.0))
    assert isinstance(lease, Lease)
    return lease
