"""A key that is given back is handed over, held, to one that waits in a slot and has said what its claim would."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from celery_locks.lease import Busy, Claim, Lease, Verdict
from celery_locks.stores.base import Waiting, Wake
from celery_locks.ticket import Stance, Ticket, undated
from tests.stores.contract.asking import claim, take
from tests.stores.contract.waiting import ask, come, heard_from, hearing, join, look, passed, quiet
from tests.stores.redis_heirs import HEIR, HOME, KEY, LOCK, OTHER, handed, place_of, waits
from tests.stores.redis_stores import full, give_up, opened
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores.base import Listening
    from celery_locks.stores.redis import RedisStore
    from tests.servers.redis import RedisServer
    from tests.stores.places import Place

#: A claim window to wait for.
BRIEF = 0.2


@pytest.fixture
def place(redis_url: str) -> Place:
    return place_of(redis_url)


@pytest.fixture
def hasty(redis_url: str) -> Iterator[RedisStore]:
    with opened(f"{redis_url}?claim_window={BRIEF}") as store:
        yield store


def _lease(wake: Wake) -> Lease:
    return Lease(HEIR, wake.fence, None)


def test_the_heir_has_the_key_when_it_hears_of_it(
    store: RedisStore, slot: Listening, redis_server: RedisServer
) -> None:
    """It is told its fence, for how long it has the key, and which of its tries that answers."""
    wake = handed(store, slot)
    assert wake[2:] == (True, 30.0, wake.fence, 3)
    holding = store.inspect(KEY)
    assert holding
    assert (holding.owner, holding.fence) == (HEIR.owner, wake.fence)
    assert 20.0 < (holding.remaining or 0) <= 30.0
    assert redis_server.ask("GET", f"{LOCK}:fence") == f"{wake.fence}:holder"
    assert redis_server.ask("EXISTS", f"{LOCK}:line", f"{LOCK}:homes") == 0
    assert store.release(HEIR)
    assert take(store, KEY, "next").fence > wake.fence


def test_a_renewal_is_one_of_its_own(store: RedisStore, slot: Listening) -> None:
    """It is a lease as any."""
    assert store.renew([_lease(handed(store, slot))]) == [Verdict.RENEWED]


def test_whoever_asks_gets_what_was_handed_over(store: RedisStore, slot: Listening) -> None:
    """Its wake was lost, or came late: the same fence, and its full ttl again."""
    wake = handed(store, slot)
    lease = store.acquire(HEIR._replace(ticket=Ticket(wake.ticket, Stance.GOES, HOME, echo=4)))
    assert isinstance(lease, Lease)
    assert lease.fence == wake.fence
    assert (lease.remaining or 0) > 20.0


def test_an_heir_that_hangs_loses_the_key_after_its_ttl(store: RedisStore, slot: Listening) -> None:
    """The line moves on; what it hears then is of no use: neither a renewal nor a release of its own does anything."""
    take(store, KEY, "holder")
    waits(store, HEIR._replace(ttl=BRIEF))
    join(store, KEY, "b")
    assert store.release(claim(KEY, "holder"))
    passed(BRIEF)
    with hearing(store) as anybody:
        look(store, KEY)
        lease = come(store, KEY, "b", anybody().ticket)
    wake = heard_from(slot)
    assert lease.fence > wake.fence
    assert store.renew([_lease(wake)]) == [Verdict.LOST]
    assert not store.release(HEIR)
    assert store.renew([lease]) == [Verdict.RENEWED]


def test_its_next_try_is_not_answered_by_what_the_last_was_told(store: RedisStore, slot: Listening) -> None:
    """It asked again when the first lease was over, and had another; the first is in its socket still."""
    take(store, KEY, "holder")
    ticket = waits(store, HEIR._replace(ttl=BRIEF))
    assert store.release(claim(KEY, "holder"))
    passed(BRIEF)
    answer = store.acquire(HEIR._replace(ticket=Ticket(ticket, Stance.WAITS_IF_NEXT, HOME, echo=4)))
    assert isinstance(answer, Lease)
    wake = heard_from(slot)
    assert (wake.echo, answer.fence > wake.fence) == (3, True)


def test_one_that_said_late_that_it_is_here_stands_in_nobodys_way(store: RedisStore, slot: Listening) -> None:
    """Its process told the store of its ticket while the key was handed over to it: it goes with the key."""
    wake = handed(store, slot)
    assert not look(store, KEY, wake.ticket).turn
    assert store.release(HEIR._replace(ticket=Ticket(wake.ticket, Stance.WAITS_IF_NEXT, HOME, echo=3)))
    take(store, KEY, "next")


def test_the_old_holder_cannot_give_it_back(store: RedisStore, slot: Listening) -> None:
    """A release that is repeated, and a renewal that was under way, harm nobody."""
    wake = handed(store, slot)
    assert store.release(claim(KEY, "holder"))
    assert store.renew([Lease(claim(KEY, "holder"), 1, None)]) == [Verdict.LOST]
    holding = store.inspect(KEY)
    assert holding
    assert holding.fence == wake.fence
    # It is done, and a claim of its own that comes late gets nothing.
    assert store.acquire(claim(KEY, "holder")._replace(ticket=Ticket("late"))) == Busy()


def test_what_was_heard_is_not_taken_back(store: RedisStore, slot: Listening) -> None:
    """A connection that the heir's process has given up may still count as a listener: it has the key all the same."""
    with contextlib.closing(store.listen(HOME)) as again:
        fence = handed(store, slot).fence
        assert heard_from(again).fence == fence
    holding = store.inspect(KEY)
    assert holding
    assert (holding.owner, holding.fence) == (HEIR.owner, fence)


@pytest.mark.usefixtures("slot")
def test_what_nobody_may_say_is_not_handed_over(redis_server: RedisServer, store: RedisStore) -> None:
    """A user without the right to publish: the key is kept for the heir, who comes by itself."""
    take(store, KEY, "holder")
    ticket = waits(store)
    redis_server.ask("ACL", "SETUSER", "default", "-publish")
    try:
        assert store.release(claim(KEY, "holder"))
        assert store.inspect(KEY) is None
        assert redis_server.ask("GET", LOCK) == "~a"
        come(store, KEY, "a", ticket)
    finally:
        redis_server.ask("ACL", "SETUSER", "default", "+publish")


@pytest.mark.parametrize("how", ["release", "farewell", "disown"])
def test_an_heir_that_goes_at_that_moment_gives_it_back(store: RedisStore, slot: Listening, how: str) -> None:
    """A soft time limit, an answer that did not come, the death of its process: the next in line is called."""
    handed(store, slot)
    with hearing(store) as anybody:
        join(store, KEY, "b")
        if how == "farewell":
            give_up(store, HEIR.owner, KEY)
        else:
            assert getattr(store, how)(HEIR)
        assert anybody().ticket.endswith("-b")


def test_an_heir_that_left_before_is_not_given_the_key(store: RedisStore, slot: Listening) -> None:
    """It goes back to its queue, or was taken out of line: it is called as all are, or not at all."""
    take(store, KEY, "holder")
    ticket = waits(store)
    away = store.acquire(HEIR._replace(ticket=Ticket(ticket, Stance.GOES, HOME, echo=4)))
    assert isinstance(away, Busy)
    assert not away.present
    assert store.release(claim(KEY, "holder"))
    assert store.inspect(KEY) is None
    come(store, KEY, "a", ticket)
    waits(store, HEIR._replace(owner="another", ticket=Ticket("c", Stance.WAITS_IF_NEXT, HOME, echo=1)))
    store.leave([Waiting(KEY, "c")])
    assert store.release(Claim(KEY, "owner a", 30.0))
    assert store.inspect(KEY) is None
    wake = heard_from(slot)
    assert (undated(wake.ticket), wake.fence) == ("a", 0)
    assert quiet(slot, store, KEY)


@pytest.mark.parametrize("ticket", [Ticket("a", Stance.WAITS, HOME), Ticket("a", Stance.WAITS, "", echo=1)])
def test_whoever_did_not_say_so_is_only_called(store: RedisStore, slot: Listening, ticket: Ticket) -> None:
    """Nobody would renew the lease of one that does not know of it."""
    take(store, KEY, "holder")
    waits(store, HEIR._replace(ticket=ticket))
    with hearing(store) as anybody:
        assert store.release(claim(KEY, "holder"))
        wake = heard_from(slot) if ticket.home else anybody()
    assert (wake.turn, wake.fence, wake.echo) == (True, 0, 0)
    assert store.inspect(KEY) is None


def test_a_process_that_hears_no_more_is_handed_nothing(store: RedisStore, redis_server: RedisServer) -> None:
    """It died a moment ago: the next is called."""
    take(store, KEY, "holder")
    with contextlib.closing(store.listen(HOME)):
        waits(store)
    with redis_server.client() as client:
        channel = f"lock:wake:{HOME}"
        wait_until(lambda: client.pubsub_numsub(channel) == [(channel, 0)], "the listener to be gone")
    with hearing(store) as anybody:
        join(store, KEY, "b")
        assert store.release(claim(KEY, "holder"))
        assert anybody().ticket.endswith("-b")


def test_only_a_release_hands_over(hasty: RedisStore, store: RedisStore, slot: Listening) -> None:
    """Whoever looks because one did not come calls the next: the windows grow shorter for those who are called."""
    take(store, KEY, "holder")
    join(store, KEY, "z")
    waits(store, HEIR._replace(ticket=Ticket("a", Stance.WAITS, HOME, echo=1)))
    assert hasty.release(claim(KEY, "holder"))
    passed(BRIEF)
    look(store, KEY)
    assert heard_from(slot).fence == 0


def test_the_next_in_line_is_called_into_a_slot(store: RedisStore, slot: Listening) -> None:
    """As it is when a claim is granted: its turn comes when the heir is done."""
    take(store, KEY, "holder")
    waits(store)
    with contextlib.closing(store.listen(OTHER)) as door:
        store.attend([Waiting(KEY, "b", comes=True)], OTHER)
        assert store.release(claim(KEY, "holder"))
        wake = heard_from(door)
        assert (wake.ticket[-2:], wake.turn) == ("-b", False)
    assert heard_from(slot).fence


def test_on_a_full_server_nothing_is_handed_over(store: RedisStore, slot: Listening, redis_server: RedisServer) -> None:
    """There is no room for a new fence: the one that waits is called, and has its own when there is."""
    take(store, KEY, "holder")
    ticket = waits(store)
    with full(redis_server):
        assert store.release(claim(KEY, "holder"))
    assert heard_from(slot).fence == 0
    assert store.inspect(KEY) is None
    assert isinstance(ask(store, KEY, "a", ticket), Lease)
