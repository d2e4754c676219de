"""Of several beats one sends, and each due time is sent once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.unit.beats import Beats, grid, store_of, unreachable, unsendable

if TYPE_CHECKING:
    from celery_locks.beat import LockedScheduler


@pytest.fixture
def beats() -> Beats:
    return Beats()


def lead(beat: LockedScheduler) -> bool:
    return beat._lead.held()


def test_each_due_time_is_sent_once(beats: Beats) -> None:
    """Of three beats one sends; its due times follow from each other, however late a beat looks."""
    three = [beats.new() for _ in range(3)]
    beats.run(10.5, *three)
    assert beats.seconds() == grid(1, 10)
    assert [lead(each) for each in three].count(True) == 1


def test_a_dead_leader_is_replaced(beats: Beats) -> None:
    """One ttl after the last renewal another beat leads, and sends what was due meanwhile, each once."""
    first, second = beats.new(), beats.new()
    beats.run(7.5, first, second)
    assert lead(first)
    beats.run(15.0, second)
    assert lead(second)
    beats.run(5.0, second)
    assert beats.seconds() == grid(1, 27)
    assert len({job.task_id for job in beats.sent}) == 27


def test_a_leader_that_ends_well_is_replaced_at_once(beats: Beats) -> None:
    """Who stands by finds the lead free at its next look."""
    first, second = beats.new(), beats.new()
    beats.run(5.5, first, second)
    first.close()
    beats.run(1.0, second)
    assert lead(second)
    assert beats.seconds() == grid(1, 6)


def test_a_leader_that_comes_back_sends_nothing(beats: Beats, caplog: pytest.LogCaptureFixture) -> None:
    """Paused past its ttl it finds that it leads no more, and stands by. It says which setting bounds that."""
    first, second = beats.new(), beats.new()
    beats.run(5.5, first, second)
    beats.run(30.0, second)
    sent = len(beats.sent)
    assert first.tick() > 0
    assert len(beats.sent) == sent
    beats.run(5.0, first, second)
    assert beats.seconds() == grid(1, 40)
    assert "lost the lead 'beat-leader:bank'" in caplog.text
    assert "its ttl ran out" in caplog.text
    assert "longer than lock_beat_ttl=15 loses it" in caplog.text


def test_a_leader_that_is_paused_before_it_publishes_sends_nothing(beats: Beats) -> None:
    """It has noted what it is about to send, and its time is over: who leads next sends that, under the same id."""
    first, second = beats.new(), beats.new()
    beats.run(5.5, first, second)
    written = store_of(first).put

    def paused(*given) -> bool:
        answer = written(*given)
        beats.run(20.0, second)
        return answer

    store_of(first).put = paused
    first.tick()
    beats.clock.advance(0.5)
    first.tick()
    store_of(first).put = written
    beats.run(5.0, first, second)
    assert beats.seconds() == grid(1, 31)


def test_a_leader_that_is_paused_while_it_publishes_is_followed_under_one_id(beats: Beats) -> None:
    """What it published and could not note is published once more, as the same job; nothing else is."""
    first, second = beats.new(), beats.new()
    beats.run(5.5, first, second)
    beats.strikes_after.append(lambda _: beats.run(20.0, second))
    beats.run(1.0, first)
    beats.run(5.0, first, second)
    ids: dict[float, set[str]] = {}
    for second_, job in zip(beats.seconds(), beats.sent, strict=True):
        ids.setdefault(second_, set()).add(job.task_id)
    assert sorted(ids) == grid(1, 31)
    assert all(len(found) == 1 for found in ids.values())
    assert beats.seconds().count(6.0) == 2
    assert len(beats.sent) == 32


def test_a_fence_refuses_who_does_not_know_that_its_time_is_over(
    beats: Beats, caplog: pytest.LogCaptureFixture
) -> None:
    """A machine that slept believes in its lease: what it would send next is refused by the store."""
    first, second = beats.new(), beats.new()
    beats.run(5.5, first)
    store_of(first)._space.taken.clear()
    beats.run(0.1, second)
    assert lead(second)
    assert lead(first)
    beats.run(5.0, first, second)
    assert beats.seconds() == grid(1, 10)
    assert "another beat has taken it" in caplog.text


def test_a_dead_leader_leaves_what_it_was_about_to_send(beats: Beats) -> None:
    """It noted what it would send and died: the next sends it, late, and under the id that was noted."""
    first, second = beats.new(), beats.new()
    beats.run(5.5, first, second)

    def die(_entry) -> None:
        raise SystemExit

    beats.strikes.append(die)
    with pytest.raises(SystemExit):
        beats.run(1.0, first)
    noted = first._book["report"].task_id
    beats.run(20.0, second)
    assert beats.seconds() == grid(1, 26)
    assert [job.task_id for job in beats.sent if job.task_id == noted] == [noted]


def test_nothing_is_sent_while_the_store_is_out(beats: Beats, caplog: pytest.LogCaptureFixture) -> None:
    """A leader that cannot note what it sends does not send; when the store is back all is sent, by one of them."""
    caplog.set_level(logging.INFO)
    first, second = beats.new(), beats.new()
    beats.run(5.5, first, second)
    for each in (first, second):
        store_of(each).is_down = True
    beats.run(20.0, first, second)
    assert beats.seconds() == grid(1, 5)
    for each in (first, second):
        store_of(each).is_down = False
    beats.run(5.0, first, second)
    assert beats.seconds() == grid(1, 30)
    assert caplog.text.count("nothing is sent until the store answers") == 2
    assert caplog.text.count("the store answers again") == 2


@pytest.mark.parametrize("answers", range(4))
def test_an_outage_between_two_steps_sends_nothing_twice(beats: Beats, answers: int) -> None:
    """A leader that has published knows that it has, also if it could not note it."""
    first = beats.new()
    beats.run(5.5, first)
    store_of(first).answers = answers
    beats.run(10.0, first)
    store_of(first).is_down, store_of(first).answers = False, None
    beats.run(20.0, first)
    assert beats.seconds() == grid(1, 35)


@pytest.mark.parametrize("withheld", [1, 2, 3])
def test_a_write_that_arrives_late_sets_nothing_back(beats: Beats, withheld: int) -> None:
    """A leader that had no answer writes again and goes on; then the first write arrives, and the leader dies."""
    first, second = beats.new(), beats.new()
    beats.run(5.5, first, second)
    store_of(first).withholds = withheld
    beats.run(6.0, first, second)
    assert len(store_of(first).withheld) == withheld
    store_of(first).deliver()
    beats.run(20.0, second)
    assert beats.seconds() == grid(1, 31)


def test_a_store_that_lost_everything(beats: Beats) -> None:
    """Who led goes on from what it knows; who stood by, from when it last saw another lead."""
    first, second = beats.new(), beats.new()
    beats.run(5.5, first, second)
    beats.space.empty()
    beats.run(20.0, first, second)
    assert beats.seconds() == grid(1, 25)
    beats.space.empty()
    beats.run(5.0, second)
    assert beats.seconds() == grid(1, 30)


def test_a_broker_that_is_out_costs_no_due_time(beats: Beats) -> None:
    """What could not be published is tried again, and the other entries do not wait for it."""
    schedule = {name: {"task": "t", "schedule": 1.0} for name in ("a", "b")}
    beats.strikes += [unreachable] * 4
    beats.run(8.5, beats.new(schedule))
    assert sorted(beats.seconds("a")) == sorted(beats.seconds("b")) == grid(1, 8)
    assert len({job.task_id for job in beats.sent}) == 16


def test_what_cannot_be_sent_is_passed_over(beats: Beats, caplog: pytest.LogCaptureFixture) -> None:
    """Arguments that cannot be written will not be better the next time: it is said, and the next due time is sent."""
    beats.strikes.append(unsendable)
    beats.run(3.5, beats.new())
    assert beats.seconds() == [2.0, 3.0]
    assert "to send report failed, and is not tried again" in caplog.text


def test_a_scheduler_that_cannot_count(beats: Beats, caplog: pytest.LogCaptureFixture) -> None:
    """What was sent is noted in the store, also when a database cannot be told of it."""
    beat = beats.new()
    beat.reserve = lambda _: None
    beats.run(3.5, beat)
    assert beats.seconds() == grid(1, 3)
    assert "report was sent, and its scheduler could not note that" in caplog.text


def test_a_leader_that_was_replaced_while_it_connected_sends_nothing(beats: Beats) -> None:
    """To reach a broker may take longer than a ttl."""
    first, second = beats.new(), beats.new()
    beats.run(0.5, first, second)
    connected = first._connected

    def slowly(*given):
        first._connected = connected
        beats.run(20.0, second)
        return connected(*given)

    first._connected = slowly
    beats.run(1.0, first)
    beats.run(2.0, first, second)
    assert beats.seconds() == grid(1, 23)


def test_clocks_that_differ(beats: Beats) -> None:
    """A beat whose clock is ahead sends sooner; one that is behind waits. Neither sends a due time again."""
    first = beats.new()
    beats.ahead = 2.4
    second = beats.new()
    beats.run(5.5, first, second)
    first.close()
    beats.run(4.0, second)
    second.close()
    beats.ahead = 0.0
    beats.run(6.0, beats.new())
    assert beats.seconds() == grid(1, 15)


def test_the_lead_is_renewed_however_seldom_something_is_due(beats: Beats) -> None:
    """A beat that has nothing to send for an hour leads all the same, and one that has no entries."""
    for schedule in ({"a": {"task": "t", "schedule": 3600.0}}, {}):
        beats = Beats()
        beat, other = beats.new(schedule), beats.new(schedule)
        beats.run(3000.0, beat, other)
        assert lead(beat)
        assert beats.clock.slept == []


def test_the_lead_is_renewed_however_much_is_due(beats: Beats, caplog: pytest.LogCaptureFixture) -> None:
    """Hundreds of entries that are due at once, each of which takes a while, do not cost the lead."""
    schedule = {f"e{number}": {"task": "t", "schedule": 60.0} for number in range(300)}
    beat, other = beats.new(schedule), beats.new(schedule)
    beats.run(50.0, beat, other)
    beats.strikes_after += [lambda _: beats.clock.advance(0.1)] * 300
    beats.run(70.0, beat)
    assert lead(beat)
    assert "lost the lead" not in caplog.text
    assert len(beats.sent) == len({job.task_id for job in beats.sent}) == 600
