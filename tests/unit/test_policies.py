"""What becomes of a job whose key is taken."""

from __future__ import annotations

import dataclasses
import math

import pytest

from celery_locks import Contention, Fail, LockConfigError, Requeue, Skip
from celery_locks.policies import NOTHING, after_outage, countdown, decide, until_free


def contention(**facts: object) -> Contention:
    known = {
        "key": "wallet:42",
        "task": "bank.withdraw",
        "task_id": "7",
        "holder": "somebody",
        "remaining": None,
        "place": None,
        "requeues": 0,
        "waited": 0.0,
    }
    return Contention(**{**known, **facts})


def decided(policy, met=None, *, most=None, longest=None):
    return decide(policy, met or contention(), most=most, longest=longest)


@pytest.mark.parametrize(("name", "decision"), [("requeue", Requeue()), ("skip", Skip()), ("fail", Fail())])
def test_a_named_policy_is_its_decision(name, decision):
    """The three words stand for the plain decisions."""
    assert decided(name) == decision


@pytest.mark.parametrize(
    "decision", [Requeue(5), Skip(result="Processing"), Skip(reason="busy"), Fail("busy")], ids=repr
)
def test_a_decision_is_a_policy_that_always_decides_so(decision):
    """`Skip(result="Processing")` is a policy and its own answer."""
    assert decided(decision) is decision


def test_a_callable_decides_on_the_contention():
    """It is given what is known, and its answer counts."""
    met = contention(requeues=3)
    seen = []

    def policy(given):
        seen.append(given)
        return Fail("enough")

    assert decided(policy, met) == Fail("enough")
    assert seen == [met]


@pytest.mark.parametrize("answer", [None, "skip", 5, True, Skip, Requeue], ids=repr)
def test_a_callable_must_answer_with_a_decision(answer):
    """Anything else is an error that names the task, the key and the decisions there are."""
    with pytest.raises(LockConfigError) as caught:
        decided(lambda _: answer)
    assert str(caught.value) == (
        f"bank.withdraw: lock_on_contention gave {answer!r}; return Requeue(delay), Skip(...) or Fail(...)"
    )
    assert caught.value.key == "wallet:42"


@pytest.mark.parametrize("delay", [-1, math.nan, math.inf, "soon", True], ids=repr)
def test_a_delay_that_is_none_is_refused(delay):
    """A callable that computes a delay wrongly gets an error, not a job that runs at once or never."""
    with pytest.raises(LockConfigError, match="a number of seconds, 0 or more"):
        decided(lambda _: Requeue(delay))


def test_a_callable_that_raises_is_not_hidden():
    """What a policy raises is the job's error."""
    with pytest.raises(ZeroDivisionError):
        decided(lambda _: 1 / 0)


@pytest.mark.parametrize(("requeues", "decision"), [(0, Requeue), (2, Requeue), (3, Fail), (4, Fail)])
def test_a_job_goes_back_so_often_and_no_more(requeues, decision):
    """`lock_max_requeues=3` allows three re-queues."""
    assert isinstance(decided("requeue", contention(requeues=requeues), most=3), decision)


def test_no_requeue_at_all_fails_at_once():
    """`lock_max_requeues=0` never goes back."""
    assert decided("requeue", most=0) == Fail("it went back to its queue 0 times (lock_max_requeues=0)")


@pytest.mark.parametrize(("waited", "decision"), [(0.0, Requeue), (59.9, Requeue), (60.0, Fail), (61.0, Fail)])
def test_a_job_waits_so_long_and_no_longer(waited, decision):
    """`lock_max_wait=60` counts from the first contention."""
    assert isinstance(decided("requeue", contention(waited=waited), longest=60.0), decision)


def test_giving_up_says_why():
    """The error names the limit that was reached."""
    assert decided("requeue", contention(waited=61.26), longest=60.0) == Fail(
        "it has waited for 61.3 s (lock_max_wait=60)"
    )


def test_a_callables_requeue_is_limited_too():
    """The limits hold whoever decides to go back."""
    assert isinstance(decided(lambda _: Requeue(1), contention(requeues=3), most=3), Fail)


@pytest.mark.parametrize("policy", ["skip", Skip(result=1), lambda _: Skip()], ids=["word", "value", "callable"])
def test_the_limits_are_for_requeues_only(policy):
    """A job that is skipped is skipped, however often it went back."""
    assert isinstance(decided(policy, contention(requeues=9, waited=1e6), most=3, longest=60.0), Skip)


def test_a_number_is_the_countdown():
    """A countdown that was named is taken as it is."""
    assert countdown(45.0, contention(requeues=9, remaining=2.0), chance=lambda: 1.0) == 45.0


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999999])
@pytest.mark.parametrize("remaining", [None, 0.0, 0.5, 5.0, 1e6])
@pytest.mark.parametrize("requeues", [0, 1, 10, 10_000])
@pytest.mark.parametrize("place", [None, 1, 50])
def test_auto_is_between_1_and_30_seconds(chance, remaining, requeues, place):
    """Whatever the contention, the countdown stays in its bounds."""
    met = contention(requeues=requeues, remaining=remaining, place=place)
    assert 1.0 <= countdown("auto", met, chance=lambda: chance) <= 30.0


def longest(**facts: object) -> float:
    return countdown("auto", contention(**facts), chance=lambda: 1.0)


def test_auto_grows_with_every_try():
    """A job that went back often looks less often."""
    assert [longest(requeues=n) for n in (0, 1, 2, 30)] == [2.0, 4.0, 6.0, 30.0]


def test_auto_grows_with_the_place_in_line():
    """Who stands further back waits longer."""
    assert [longest(place=n) for n in (1, 2, 5, 100)] == [2.0, 4.0, 10.0, 30.0]


def test_auto_is_no_longer_than_the_lease_can_last():
    """There is no use in waiting past the end of the holder's lease."""
    assert longest(requeues=10, remaining=7.0) == 7.0


def test_auto_does_not_hurry_for_a_lease_about_to_end():
    """A lease about to end is probably renewed: the job does not spin."""
    assert longest(requeues=10, remaining=0.01) == 2.0


def test_auto_has_a_random_part():
    """Jobs that met do not meet again: the countdown follows the chance, from 1 s upwards."""
    met = contention(requeues=4)
    assert [countdown("auto", met, chance=lambda part=part: part) for part in (0.0, 0.5, 1.0)] == [1.0, 5.5, 10.0]


def test_auto_differs_from_job_to_job():
    """The chance is drawn anew each time."""
    assert len({countdown("auto", contention(requeues=9)) for _ in range(50)}) > 40


def test_after_an_outage_a_number_is_the_countdown():
    """A countdown that was named is taken as it is."""
    assert after_outage(45.0) == 45.0


def test_after_an_outage_auto_leaves_time_for_a_restart():
    """From 5 to 15 seconds, spread out."""
    assert [after_outage("auto", chance=lambda part=part: part) for part in (0.0, 1.0)] == [5.0, 15.0]


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({}, "'wallet:42' is held by somebody"),
        ({"holder": None}, "'wallet:42' is taken"),
        ({"place": 3}, "'wallet:42' is held by somebody, place 3 in line"),
    ],
)
def test_a_contention_reads_as_a_sentence(facts, text):
    """It says key, holder and place, as far as they are known."""
    assert str(contention(**facts)) == text


@pytest.mark.parametrize("made", [contention(), Requeue(1), Skip(1), Fail("x")], ids=lambda each: type(each).__name__)
def test_contentions_and_decisions_are_frozen(made):
    """What is handed round is not changed on the way."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, dataclasses.fields(made)[0].name, "changed")


def test_skipping_with_none_is_a_result():
    """`Skip(result=None)` ends well with None; `Skip()` has no result."""
    assert Skip(result=None).result is not NOTHING
    assert Skip().result is NOTHING
    assert repr(NOTHING) == "nothing"


@pytest.mark.parametrize(("remaining", "asked"), [(12.0, 12.0), (600.0, 30.0), (0.2, 1.0), (None, "auto")])
def test_who_waits_for_a_key_of_its_own_comes_when_it_is_free(remaining, asked):
    """A minute's wait is two messages and not thirty."""
    assert until_free("auto", contention(remaining=remaining), in_line=False) == asked


def test_a_number_and_a_place_in_line_say_when_it_comes():
    """Also to who waits for a key of its own."""
    met = contention(remaining=12.0)
    assert until_free(0.5, met, in_line=False) == 0.5
    assert until_free("auto", met, in_line=True) == "auto"
