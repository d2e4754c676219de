"""Those that hold a key together, as one text."""

from __future__ import annotations

import pytest

from celery_locks.lease import Claim
from celery_locks.stores.members import Member, Members, admitted, from_text

ANN, BEN, CLEO = (
    Member(owner, fence, until) for owner, fence, until in (("ann", 3, 90), ("ben", 5, 50), ("cleo", 7, 70))
)
ALL = Members(readers=False, each=(ANN, BEN, CLEO))


def asking(slots: int = 1, *, shared: bool = False) -> Claim:
    return Claim("wallet", "dora", 30.0, slots=slots, shared=shared)


@pytest.mark.parametrize("owner", ["ann", "", "\0", '東京"\\', "\\[", "é"])
def test_any_owner_is_read_as_it_was_written(owner):
    """In ASCII, with its fence and its end, and as what they hold the key."""
    for readers in (True, False):
        members = Members(readers, (Member(owner, 2**62, 1), BEN))
        assert members.to_text().isascii()
        assert from_text(members.to_text()) == members


def test_they_stand_by_their_fences():
    """Whoever beats keeps its place, and whoever comes is where its fence is."""
    assert Members(readers=False, each=(ANN, CLEO)).joined(BEN) == ALL
    again = ALL.joined(ANN._replace(until=99))
    assert [member.owner for member in again.each] == ["ann", "ben", "cleo"]
    assert (ALL.until, again.until) == (90, 99)


def test_those_whose_time_is_over_are_none():
    """At the very moment of its end, too."""
    assert [member.owner for member in ALL.alive(50).each] == ["ann", "cleo"]
    assert ALL.alive(90).each == ()


@pytest.mark.parametrize(
    ("claim", "slots", "gets"),
    [
        (asking(), None, False),
        (asking(shared=True), None, False),
        (asking(3), None, False),
        (asking(4), None, True),
        (asking(4), 3, False),
        (asking(3), 4, True),
        (asking(), 9, False),
    ],
)
def test_who_comes_in_beside_three_with_slots(claim, slots, gets):
    """One that wants a slot, of more than three: by the key's own number, or else by its own."""
    assert admitted(ALL, claim, slots) is gets


def test_all_readers_read_together_and_nobody_beside_them():
    """And a key that nobody has takes whoever comes."""
    readers = ALL._replace(readers=True)
    assert admitted(readers, asking(shared=True), 1)
    assert not admitted(readers, asking(9), None)
    assert not admitted(readers, asking(), None)
    assert all(admitted(nobody, asking(), None) for nobody in (None, Members(readers=True)))
