"""The memory that a worker's processes share: what is written is read, and what is half written is not."""

from __future__ import annotations

import enum
import math
import os

import pytest

from celery_locks.board import CLAIMED, FREE, HELD, LEAVING, ROOM, SLOTS, Board, Region
from celery_locks.record import Entry, News, Term
from tests.unit.fakes import in_child

TERM = Term(deadline=1010.0, ttl=30.0, interval=10.0, fence=1_700_000_000_000_000, on_lost=2)


def entry(key: str = "wallet:42", owner: str = "me", pid: int = 7, others: tuple[str, ...] = ()) -> tuple[object, ...]:
    return (pid, 3, key, owner, 30.0, "shop.sync", "an-id", "a-ticket", others)


@pytest.fixture
def board() -> Board:
    return Board(2)


@pytest.fixture
def region(board: Board) -> Region:
    region = board.regions[1]
    region.settle(7)
    return region


def test_what_is_claimed_is_read(region: Region):
    """A claim is shown whole, before there is an answer to it."""
    assert region.claim(0, entry())
    assert (region.state(0), region.entry(0)) == (CLAIMED, entry())
    assert region.term(0) is None


def test_what_is_held_is_read(region: Region):
    """How a lease is to be kept is shown when it is held."""
    region.claim(0, entry())
    region.hold(0, TERM)
    assert (region.state(0), region.entry(0), region.term(0)) == (HELD, entry(), TERM)


def test_a_child_writes_what_its_parent_reads(region: Region):
    """The memory is one for all who are forked."""

    def hold() -> None:
        region.settle(os.getpid())
        region.claim(5, entry(pid=os.getpid()))
        region.hold(5, TERM)

    assert in_child(hold) == 0
    assert list(region.used()) == list(range(6))
    assert region.term(5) == TERM
    found = region.entry(5)
    assert found is not None
    assert found.pid == region.pid != os.getpid()


def test_a_claim_of_another_lease_does_not_pass_for_this_one(region: Region):
    """What an earlier lease left in the slot is not read as the next one's."""
    region.claim(0, entry())
    old = region.hold(0, TERM)
    region.tell(0, old, News(1020.0, is_lost=False, reason=""))
    region.move(0, FREE)
    region.claim(0, entry(owner="next"))
    head = region.hold(0, TERM._replace(deadline=2000.0))
    assert head != old
    assert region.news(0, head) is None
    region.tell(0, old, News(-math.inf, is_lost=True, reason="too late"))
    assert region.news(0, head) is None, "an answer to a beat for the lease before"


@pytest.mark.parametrize("place", [4, 8, 20, 43, 64, 68, 72, 86, 320, 324, 328, 342, 576, 580, 584, 612])
def test_what_is_half_written_is_not_read(region: Region, place: int):
    """One byte that is not yet there makes a record unreadable, and never wrong."""
    region.claim(0, entry())
    head = region.hold(0, TERM)
    region.tell(0, head, News(1020.0, is_lost=False, reason="all is well"))
    region.tell_own(0, head, News(1030.0, is_lost=False, reason="and so it is"))
    before = region.entry(0), region.term(0), region.news(0, head), region.own_news(0, head)
    region._slots[place] ^= 0xFF
    after = region.entry(0), region.term(0), region.news(0, head), region.own_news(0, head)
    assert [new for old, new in zip(before, after, strict=True) if new != old] == [None]


def test_news_is_heard(region: Region):
    """Until when a lease is held, or why it is lost, a long reason without its end."""
    region.claim(0, entry())
    head = region.hold(0, TERM)
    assert region.news(0, head) is None
    region.tell(0, head, News(1020.5, is_lost=False, reason=""))
    assert region.news(0, head) == News(1020.5, is_lost=False, reason="")
    region.tell(0, head, News(-math.inf, is_lost=True, reason="ä" * 200))
    news = region.news(0, head)
    assert news is not None
    assert news.is_lost
    assert news.reason == "ä" * 96


def test_a_claim_that_is_too_long_is_refused(region: Region):
    """Nothing is shown, and the slot stays free."""
    assert not region.claim(0, entry("x" * ROOM))
    assert region.state(0) == FREE
    assert region.claim(0, entry("x" * 400))


def test_a_head_is_never_the_same_for_two_leases(region: Region):
    """Each state of each lease has one of its own."""
    heads = set()
    for _ in range(10):
        region.claim(0, entry())
        heads |= {region.head(0), region.hold(0, TERM), region.move(0, LEAVING), region.move(0, FREE)}
    assert len(heads) == 40


def test_who_comes_next_leaves_the_slots_of_the_dead(region: Region):
    """What a predecessor held is its parent's to free."""
    region.claim(0, entry())
    region.claim(2, entry())
    region.move(2, FREE)
    free = region.settle(8)
    assert region.pid == 8
    assert len(free) == SLOTS - 1
    assert free[-2:] == [2, 1]
    assert region.entry(0) == entry()


def test_regions_do_not_overlap(board: Board):
    """The first and the last slot of each hold what was written there."""
    places = [(region, slot) for region in board.regions for slot in (0, SLOTS - 1)]
    for number, (region, slot) in enumerate(places):
        region.claim(slot, entry("x" * 400, owner=str(number)))
        region.tell(slot, region.hold(slot, TERM), News(1.0, is_lost=True, reason="r" * 192))
        region.begin(slot, 2.0)
        region.end(slot, 1.0)
    for number, (region, slot) in enumerate(places):
        assert region.entry(slot) == entry("x" * 400, owner=str(number))
        assert region.term(slot) == TERM
        assert region.is_beating(slot)
    assert board.wakes_at == math.inf


class Key(str, enum.Enum):
    """A key with a name."""

    RATES = "wallet:42"


def test_a_claim_of_several_keys_is_read(region: Region):
    """All of them, in their order."""
    assert region.claim(0, entry("a", others=("b", "c")))
    found = region.entry(0)
    assert (found.key, found.others) == ("a", ("b", "c"))


def test_a_key_that_is_more_than_a_text(region: Region):
    """A member of an enumeration, or a text that is marked as safe, is written as the text it is."""

    class Seconds(float):
        pass

    assert region.claim(0, Entry(7, 3, Key.RATES, "me", Seconds(30.0), "shop.sync", None, None, (Key.RATES,)))
    found = region.entry(0)
    assert found == (7, 3, "wallet:42", "me", 30.0, "shop.sync", None, None, ("wallet:42",))
    assert {type(fact) for fact in found} == {int, str, float, type(None), tuple}
    assert {type(key) for key in found.others} == {str}


def test_a_lease_that_is_shown_anew(region: Region):
    """It has another head, and what was said of it before is not heard; its claim stays as it is, for many times."""
    region.claim(0, entry())
    heads = set()
    for number in range(70_000):
        heads.add(region.hold(0, TERM._replace(deadline=float(number))))
    assert len(heads) == 1 << 16
    assert (region.entry(0), region.state(0), region.term(0).deadline) == (entry(), HELD, 69_999.0)
    region.tell(0, region.head(0), News(1020.0))
    assert region.news(0, region.hold(0, TERM)) is None


def test_how_many_had_a_place(region: Region):
    """A process with the number of its predecessor is another."""
    before = region.births
    region.settle(7)
    assert region.births == before + 1
