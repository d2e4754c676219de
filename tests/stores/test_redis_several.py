"""Several keys in one lock in Redis: in one step, in one line at a time, and with nothing left behind."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Busy, Claim, Holding, Lease, Verdict, new_owner
from celery_locks.stores import open_store
from celery_locks.stores.several import Several
from celery_locks.ticket import Stance, Ticket, ticket_of
from tests.stores.contract import claim, take
from tests.stores.contract.several import joint_claim, take_all
from tests.stores.contract.waiting import LONG, ask, called, hearing, join, joined
from tests.stores.places import deliver
from tests.stores.redis_stores import calls, cluster_url, full, opened, place_of
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores.redis import RedisStore
    from tests.servers.proxy import Proxy
    from tests.servers.redis import RedisServer
    from tests.stores.places import Place

KEYS = ("a", "b", "c")
MANY = tuple("abcdefgh")


@pytest.fixture
def place(redis_url: str) -> Place:
    return place_of(redis_url)


@pytest.fixture(params=["one step", "one after another"])
def queue(request: pytest.FixtureRequest) -> Iterator[RedisStore]:
    """A store that keeps a key for whom it called until the test is over."""
    if request.param == "one step":
        url = request.getfixturevalue("redis_url")
    else:
        cluster = request.getfixturevalue("redis_cluster")
        cluster.flush()
        url = cluster_url(cluster)
    with contextlib.closing(open_store(f"{url}?claim_window={LONG}")) as store:
        yield store  # type: ignore[misc]  # the URL is of one


def ask_for_all(store: RedisStore, name: str, ticket: str | None = None, stance: Stance = Stance.WAITS) -> Lease | Busy:
    asked = joint_claim(KEYS, f"owner {name}")
    return Several(store).acquire(asked._replace(ticket=Ticket(ticket or name, stance)))


def wait_for_all(store: RedisStore, name: str, ticket: str | None = None) -> Busy:
    answer = ask_for_all(store, name, ticket)
    assert isinstance(answer, Busy), f"{name} was to wait, and got {answer}"
    return answer


def test_it_joins_the_line_of_the_first_key_that_is_taken(queue: RedisStore) -> None:
    """And no other: who asks for one of the others has nobody before him."""
    take(queue, "b", "holder")
    take(queue, "c", "holder")
    busy = wait_for_all(queue, "all")
    assert (busy.key, busy.holder, busy.place, busy.present) == ("b", "holder", 1, True)
    assert busy.ticket
    assert isinstance(ask(queue, "a", "single"), Lease)
    assert join(queue, "b", "second").place == 2
    assert join(queue, "c", "first").place == 1


def test_called_for_one_it_gives_that_on_when_another_is_taken(queue: RedisStore) -> None:
    """The next in the line that it leaves is called, and it comes into the other one by when it first waited."""
    holders = [take(queue, key, "holder") for key in ("a", "c")]
    ticket = wait_for_all(queue, "all").ticket
    assert ticket
    [behind], [later] = joined(queue, "a", "behind"), joined(queue, "c", "later")
    assert queue.release(holders[0].claim)
    assert called(queue, "a", ticket)
    with hearing(queue, "a") as heard:
        busy = wait_for_all(queue, "all", ticket)
        wake = heard()
    assert (busy.key, busy.place, busy.ticket) == ("c", 1, ticket)
    assert (wake.ticket, wake.turn) == (behind, True)
    assert queue.release(holders[1].claim)
    assert called(queue, "c", ticket)
    assert not called(queue, "c", later)


def test_called_for_a_later_one_it_gives_that_on_as_well(queue: RedisStore) -> None:
    """It finds an earlier key taken by then: nothing is kept for it meanwhile."""
    holder = take(queue, "b", "holder")
    ticket = wait_for_all(queue, "all").ticket
    assert ticket
    [behind] = joined(queue, "b", "behind")
    take(queue, "a", "other")
    assert queue.release(holder.claim)
    assert called(queue, "b", ticket)
    with hearing(queue, "b") as heard:
        busy = wait_for_all(queue, "all", ticket)
        wake = heard()
    assert (busy.key, busy.holder, busy.place) == ("a", "other", 1)
    assert (wake.ticket, wake.turn) == (behind, True)


def test_whoever_has_all_is_in_no_line(queue: RedisStore) -> None:
    """Called for one, it takes all; those behind it are the first from now on."""
    holder = take(queue, "b", "holder")
    ticket = wait_for_all(queue, "all").ticket
    [behind] = joined(queue, "b", "behind")
    assert queue.release(holder.claim)
    lease = ask_for_all(queue, "all", ticket)
    assert isinstance(lease, Lease)
    assert join(queue, "b", "behind", behind).place == 1
    assert join(queue, "c", "first").place == 1
    assert Several(queue).release(lease.claim)
    assert called(queue, "b", behind)


def test_nothing_of_it_stays_in_a_line(store: RedisStore, redis_server: RedisServer) -> None:
    """Nor where it waited in one and was told."""
    holder = take(store, "b", "holder")
    ticket = wait_for_all(store, "all").ticket
    assert store.release(holder.claim)
    assert isinstance(ask_for_all(store, "all", ticket), Lease)
    with redis_server.client() as client:
        assert [name for name in client.scan_iter() if str(name).endswith((":line", ":homes"))] == []


def test_one_that_goes_back_to_its_queue_is_away_in_that_line(queue: RedisStore) -> None:
    """With the ticket that brings it back."""
    take(queue, "c", "holder")
    answer = ask_for_all(queue, "all", stance=Stance.GOES)
    assert isinstance(answer, Busy)
    assert (answer.key, answer.present) == ("c", False)
    assert wait_for_all(queue, "all", answer.ticket).place == 1


def test_it_comes_behind_who_was_there_before(queue: RedisStore) -> None:
    """A key that is kept for somebody else is taken for it, and nobody overtakes by asking for more."""
    holder = take(queue, "b", "holder")
    [before] = joined(queue, "b", "before")
    assert queue.release(holder.claim)
    busy = wait_for_all(queue, "all")
    assert (busy.key, busy.holder, busy.place) == ("b", None, 1)
    assert called(queue, "b", before)


def test_all_are_taken_in_one_round_trip_and_given_back_in_one(
    store: RedisStore, way: Proxy, redis_server: RedisServer
) -> None:
    """One script takes them; each is given back by the script of the single key, all said before an answer comes."""
    Several(store).release(take_all(store, KEYS, "warm").claim)
    before = calls(redis_server, "evalsha")
    lease = take_all(store, KEYS)
    assert calls(redis_server, "evalsha") - before == 1
    assert lease.fences == dict.fromkeys(KEYS, lease.fence)
    assert Several(store).release(lease.claim)
    assert calls(redis_server, "evalsha") - before == 1 + len(KEYS)
    way.hold("answers")
    with pytest.raises(StoreUnavailable):
        Several(store).release(lease.claim)
    assert calls(redis_server, "evalsha") - before == 1 + 2 * len(KEYS)
    way.let_go("answers")


def test_a_server_that_forgot_the_scripts_is_told_them(store: RedisStore, redis_server: RedisServer) -> None:
    """After SCRIPT FLUSH both verbs are said once more, in full."""
    redis_server.ask("SCRIPT", "FLUSH")
    lease = take_all(store, KEYS)
    redis_server.ask("SCRIPT", "FLUSH")
    assert Several(store).release(lease.claim)


def test_an_acquire_whose_answer_is_lost_leaves_none_taken(store: RedisStore, way: Proxy, other: RedisStore) -> None:
    """After its timeout the client gives all of them back, and gets none of them any more."""
    way.hold("answers")
    with pytest.raises(StoreUnavailable):
        Several(store).acquire(joint_claim(MANY))
    wait_until(lambda: not list(other.list("?")), "the farewell to arrive")
    way.let_go("answers")
    assert Several(other).acquire(joint_claim(MANY)) == Busy()
    take_all(other, MANY, "ben")


def test_an_acquire_that_arrives_late_takes_none(store: RedisStore, way: Proxy, other: RedisStore) -> None:
    """Its farewell is read right behind it: a server reads 16 kB at a time, and no more from a client that is gone."""
    way.hold("requests")
    with pytest.raises(StoreUnavailable):
        Several(store).acquire(joint_claim(MANY))
    deliver(way, opened)
    wait_until(lambda: not list(other.list("?")), "the farewell to arrive")
    assert Several(other).acquire(joint_claim(MANY)) == Busy()
    take_all(other, MANY, "ben")


@pytest.mark.parametrize("doom", ["lose_answer", "cut_answer"])
def test_a_broken_connection_costs_no_key(store: RedisStore, way: Proxy, other: RedisStore, doom: str) -> None:
    """What was asked is asked once more, and means the same; else all are given back."""
    getattr(way, doom)(b"EVAL")
    with contextlib.suppress(StoreUnavailable):
        lease = Several(store).acquire(joint_claim(KEYS))
        assert isinstance(lease, Lease)
        assert Several(store).release(lease.claim)
    wait_until(lambda: not list(other.list("?")), "all to be free")


def test_something_else_under_one_name_leaves_the_others_free(store: RedisStore, redis_server: RedisServer) -> None:
    """The error says what to do, and the keys before and behind it are as they were."""
    with redis_server.client() as client:
        client.rpush("lock:{b}", "theirs")
        with pytest.raises(StoreUnavailable, match="something else is kept under this name"):
            Several(store).acquire(joint_claim(KEYS))
        client.delete("lock:{b}")
        client.set("lock:{c}:fence", "theirs")
        with pytest.raises(StoreUnavailable, match="something else is kept under this name"):
            Several(store).acquire(joint_claim(KEYS))
    assert list(store.list("?")) == []


def test_a_full_server_gives_none_and_keeps_what_is_held(store: RedisStore, redis_server: RedisServer) -> None:
    """Nothing can be taken while it has no memory left; what was is renewed, and given back."""
    lease = take_all(store, KEYS)
    with full(redis_server):
        with pytest.raises(StoreUnavailable, match="no memory left"):
            Several(store).acquire(joint_claim(["x", "y"], "ben"))
        assert Several(store).renew([lease]) == [Verdict.RENEWED]
        assert Several(store).release(lease.claim)
        assert list(store.list("?")) == []


def test_fences_follow_the_highest_of_all_keys(store: RedisStore, redis_server: RedisServer) -> None:
    """One that a key has had, far ahead of the clock, is passed by the lease of all, and that by the next of each."""
    with redis_server.client() as client:
        client.set("lock:{b}:fence", f"{2**52}:")
    lease = take_all(store, KEYS)
    assert lease.fence == 2**52 + 1
    assert Several(store).release(lease.claim)
    assert take(store, "a", "ben").fence > lease.fence
    assert store.release(claim("a", "ben"))


def test_all_have_the_fence_that_is_shown_and_passed(queue: RedisStore) -> None:
    """Also where each node of a cluster counts for itself: the highest is written down at all of them."""
    lease = take_all(queue, KEYS)
    assert [holding.fence for key in KEYS if (holding := queue.inspect(key))] == [lease.fence] * 3
    assert Several(queue).renew([lease]) == [Verdict.RENEWED]
    assert Several(queue).release(lease.claim)
    for key in KEYS:
        assert take(queue, key, "ben").fence > lease.fence


def test_what_was_taken_away_meanwhile_gets_no_fence(queue: RedisStore) -> None:
    """The thief's stays as it is, and so do those of the keys that are ours: they are not of one lease any more."""
    lease = take_all(queue, KEYS)
    assert queue.force_release("b")
    thief = take(queue, "b", "thief")
    assert not queue.level(lease.claim, thief.fence + 1000)
    assert queue.inspect("b") == Holding("b", "thief", thief.fence, pytest.approx(30.0, abs=5.0))
    assert not queue.level(lease.claim.of("a"), 1)


def test_those_who_were_called_do_not_pass_their_turns_round(store: RedisStore) -> None:
    """Three wait for the same two keys, and nobody holds one: of those called in turn one has both soon."""
    several, tickets = Several(store), dict[str, str]()
    holders = [claim("a", "holder of a"), claim("b", "holder of b")]
    for each in holders:
        take(store, each.key, each.owner)
    claims = {name: Claim("a", new_owner(name), 30.0, others=("b",)) for name in ("x", "y", "z")}

    def asks(name: str) -> Lease | Busy:
        mine = claims[name]
        ticket = Ticket(tickets.get(name) or ticket_of(mine.owner))
        answer = several.acquire(mine._replace(ticket=ticket))
        if isinstance(answer, Busy):
            tickets[name] = answer.ticket or ""
        return answer

    assert asks("x").key == "a"
    assert store.release(holders[0])
    assert asks("x").key == "b"
    take(store, "a", "holder of a again")
    assert [asks("y").key, asks("z").key] == ["a", "a"]
    assert store.release(holders[1])
    assert store.release(claim("a", "holder of a again"))
    assert list(store.list("[ab]")) == []
    answers = [asks(name) for name in "yxzyxz"]
    assert any(isinstance(answer, Lease) for answer in answers), answers
