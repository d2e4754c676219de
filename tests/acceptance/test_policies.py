"""What else than a re-queue may become of a job that meets its key taken."""

from __future__ import annotations

import time

import pytest
from celery import chain, chord, group
from celery.exceptions import ChordError, TaskRevokedError

from celery_locks import LockTimeout
from tests.acceptance.journal import judge
from tests.acceptance.office import PATIENCE, Office, only_redis
from tests.waiting import wait_until


def test_skip_ends_revoked(office: Office) -> None:
    """A skipped job is REVOKED, and who waits for it is told which key was taken and by whom."""
    with office.taken() as lease:
        job = office.send("skip", "skipped")
        with pytest.raises(TaskRevokedError) as revoked:
            job.get(timeout=PATIENCE)
    assert job.state == "REVOKED"
    assert office.key in str(revoked.value)
    assert lease.owner in str(revoked.value)
    assert office.journal.runs(office.key) == []


@only_redis
def test_skip_is_said_once(office: Office) -> None:
    """A skipped job calls no errback and sends task_revoked once; with ignore_result it leaves nothing behind."""
    errbacks = [office.app.signature(name, kwargs={"key": office.key, "job": name}) for name in ("errback", "note")]
    with office.taken():
        shown = office.send("skip", "shown", options={"link_error": errbacks})
        unseen = office.send("skip", "unseen", options={"link_error": errbacks, "ignore_result": True})
        wait_until(lambda: len(revoked(office)) >= 2, "both to be skipped", PATIENCE)
        office.wait_for_state(shown, "REVOKED")
    # A job that fails calls its own: by then those of the skipped ones, called before, would have been noted.
    with pytest.raises(Exception, match="run 1 of broken failed"):
        office.send("fails", "broken", options={"link_error": errbacks}).get(timeout=PATIENCE)
    assert [len(office.notes(name)) for name in ("errback", "note")] == [1, 1]
    assert sorted(revoked(office)) == ["shown", "unseen"]
    assert unseen.state == "PENDING"


def revoked(office: Office) -> list[str]:
    """The jobs of this test that task_revoked was sent for."""
    return [event["job"] for event in office.journal.events("revoked", office.key)]


@only_redis
def test_a_chain_ends_with_its_skipped_step(office: Office) -> None:
    """The last result of a chain whose first step is skipped does not hang: it is revoked too, and nothing runs."""
    with office.taken():
        last = chain(office.job("skip", "one"), office.job("work", "two"), office.job("work", "three")).apply_async()
        with pytest.raises(TaskRevokedError):
            last.get(timeout=PATIENCE)
    assert last.parent.parent.state == "REVOKED"
    assert office.journal.runs(office.key) == []


@only_redis
def test_a_chord_with_a_skipped_member_fails(office: Office) -> None:
    """A chord's result does not hang on a skipped member: it is a ChordError that names it, and the body never runs."""
    body = office.app.signature("note", kwargs={"key": office.key, "job": "body"})
    plain = office.app.signature("plain", args=("fine",))
    with office.taken():
        result = chord([plain, office.job("skip", "skipped")])(body)
        office.wait_for_state(result, "FAILURE")
    assert isinstance(result.result, ChordError)
    assert "TaskRevokedError" in str(result.result)
    with pytest.raises((ChordError, TaskRevokedError)):
        result.get(timeout=PATIENCE)
    assert office.journal.events("note", office.key) == []


@only_redis
def test_a_group_with_a_skipped_member(office: Office) -> None:
    """A group's results do not hang on a skipped member, and the others' are there."""
    plain = office.app.signature("plain", args=("fine",))
    with office.taken():
        result = group(plain, office.job("skip", "skipped")).apply_async()
        with pytest.raises(TaskRevokedError):
            result.get(timeout=PATIENCE)
        fine, skipped = result.get(timeout=PATIENCE, propagate=False)
    assert fine == "fine"
    assert isinstance(skipped, TaskRevokedError)


def test_skip_with_a_result_ends_well(office: Office) -> None:
    """Skip(result=...) ends the job with that value: its chain goes on with it and a chord's body gets it."""
    plain = office.app.signature("plain")
    with office.taken():
        assert office.send("skip_with_result", "one").get(timeout=PATIENCE) == "Processing"
        assert chain(office.job("skip_with_result", "two"), plain).apply_async().get(timeout=PATIENCE) == "Processing"
        both = chord([office.job("skip_with_result", "three"), office.job("skip_with_result", "four")])(plain)
        assert both.get(timeout=PATIENCE) == ["Processing", "Processing"]
    assert office.journal.runs(office.key) == []


@only_redis
def test_fail_tells_the_caller_which_key(office: Office) -> None:
    """lock_on_contention="fail": a LockTimeout with key and holder reaches the caller."""
    with office.taken() as lease:
        job = office.send("fail", "failed")
        with pytest.raises(LockTimeout) as timeout:
            job.get(timeout=PATIENCE)
    assert (timeout.value.key, timeout.value.holder) == (office.key, lease.owner)
    assert job.state == "FAILURE"


@only_redis
def test_a_policy_of_ones_own(office: Office) -> None:
    """A callable is given the contention, and sends back, ends well or fails the job as it likes."""
    with office.taken() as lease:
        job = office.send("callable", "decides")
        assert job.get(timeout=PATIENCE) == [office.key, "callable", lease.owner, 1]
    office.wait_for_messages("decides", 2)
    office.key = f"fail {office.key}"
    with office.taken(), pytest.raises(LockTimeout, match="callable has seen enough"):
        office.send("callable", "fails").get(timeout=PATIENCE)


@only_redis
def test_a_policy_that_fails(office: Office) -> None:
    """An error of the policy's own is the job's: it ends failed with it, and the key stays its holder's."""
    with office.taken() as lease:
        with pytest.raises(Exception, match=f"no idea what to do about {office.key}"):
            office.send("blunder", "undecided").get(timeout=PATIENCE)
        lease.ensure_held()
    assert office.send("work", "next").get(timeout=PATIENCE) == "next"
    assert office.journal.jobs(office.key) == ["next"]


@only_redis
def test_three_tries(office: Office) -> None:
    """lock_max_requeues=2: after two re-queues the next contention is a LockTimeout that says so."""
    with office.taken(), pytest.raises(LockTimeout, match="went back to its queue 2 times"):
        office.send("three_tries", "persists").get(timeout=PATIENCE)
    assert len(office.wait_for_messages("persists", 3)) == 3


@only_redis
def test_a_second_of_waiting(office: Office) -> None:
    """lock_max_wait=1: a second after it first met its key taken, a job gives up with a LockTimeout."""
    with office.taken():
        job = office.send("one_second", "persists")
        office.wait_until_waiting(job)
        with pytest.raises(LockTimeout, match=r"it has waited for [1-9]\d*\.\d s"):
            job.get(timeout=PATIENCE)


@only_redis
def test_waiting_in_the_slot(office: Office) -> None:
    """lock_wait: the job stays in its worker's slot and begins when the key is released, without a re-queue."""
    with office.taken():
        job = office.send("patient", "waits")
        office.wait_for_messages("waits", 1)
        time.sleep(0.5)
        assert not office.journal.runs(office.key)
        released = time.monotonic()
    assert job.get(timeout=PATIENCE) == "waits"
    [run] = office.journal.runs(office.key)
    assert run.facts["requeues"] == 0
    assert len(office.wait_for_messages("waits", 1)) == 1
    assert run.start > released


@only_redis
def test_slots_of_waiters_take_turns(office: Office) -> None:
    """Four waiters in four slots: each gets the key in turn."""
    names = [f"waiter {number}" for number in range(4)]
    with office.taken():
        results = [office.send("patient", name, seconds=0.05) for name in names]
        for name in names:
            office.wait_for_messages(name, 1)
    assert [result.get(timeout=PATIENCE) for result in results] == names
    judge(office.journal.runs(office.key), names)
