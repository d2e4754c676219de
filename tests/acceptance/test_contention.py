"""A job that meets its key taken goes back to its queue with everything it was sent with."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import celery
import pytest
from celery import chain, chord, group
from celery.exceptions import Retry

from celery_locks import LockTimeout
from tests.acceptance.journal import Run, judge
from tests.acceptance.office import PATIENCE, Office, only_redis

if TYPE_CHECKING:
    from pytest_celery import CeleryTestSetup

#: What differs between two jobs, and what a wait for a key may change.
OF_THE_JOB = {"id", "root_id", "correlation_id", "kwargs", "kwargsrepr", "properties", "hostname", "_children"}
OF_THE_WAIT = {"eta"}


def seen(run: Run) -> dict[str, Any]:
    """What the body saw of its request, but for what is the job's own."""
    return {name: value for name, value in run.facts["seen"].items() if name not in OF_THE_JOB | OF_THE_WAIT}


def test_a_contended_job_is_what_was_sent(office: Office) -> None:
    """The body of a job that waited sees what the body of one that did not wait sees.

    Queue, priority, headers, stamps, expiry, time limits, link, errback, shadow, parent and root: its whole request.
    """
    note = office.app.signature("note", kwargs={"key": office.key, "job": "link"})
    options = {
        "queue": "other",
        "priority": 4,
        "headers": {"tenant": "t7", "trace": {"span": 1}},
        "expires": dt.datetime.now(dt.timezone.utc) + dt.timedelta(hours=1),
        "soft_time_limit": 100,
        "time_limit": 200,
        "link": note,
        "link_error": note,
        "shadow": "somebody else",
        "compression": "gzip",
        "serializer": "pickle",
        "ignore_result": False,
        "root_id": "the-root",
        "parent_id": "the-parent",
        "stamped_headers": ["region"],
        "region": "north",
    }
    office.send("work", "at once", options=options).get(timeout=PATIENCE)
    with office.taken():
        waits = office.send("work", "waits", options={**options, "task_id": f"id-of-{office.key}"})
        office.wait_until_waiting(waits)
    assert waits.get(timeout=PATIENCE) == "waits"
    at_once, waited = office.journal.runs(office.key)
    assert waited.facts["requeues"] >= 1
    assert seen(waited) == seen(at_once)
    assert waited.facts["id"] == f"id-of-{office.key}"
    assert (waited.facts["seen"]["root_id"], waited.facts["seen"]["parent_id"]) == ("the-root", "the-parent")
    assert waited.facts["seen"]["correlation_id"] == waited.facts["id"]
    assert waited.facts["seen"]["properties"].get("priority") == 4
    assert waited.facts["seen"]["delivery_info"]["routing_key"] == "other"
    assert office.notes("link", 2) == [["at once"], ["waits"]], "each link is called once"


@only_redis
def test_the_users_headers_stay_the_users(office: Office) -> None:
    """A job sees in its headers what it was sent with, and nothing of ours, whether it waited or not."""
    dress = {"headers": {"tenant": "t7"}}
    office.send("work", "bare").get(timeout=PATIENCE)
    office.send("work", "dressed", options=dress).get(timeout=PATIENCE)
    with office.taken():
        waits = [office.send("work", "bare"), office.send("work", "dressed", options=dress)]
        office.wait_until_waiting(*waits)
    for job in waits:
        job.get(timeout=PATIENCE)
    runs = office.journal.runs(office.key)
    seen_headers = [run.facts["seen"]["headers"] for run in sorted(runs, key=lambda run: run.job)]
    assert seen_headers == [None, None, {"tenant": "t7"}, {"tenant": "t7"}]


@pytest.mark.parametrize("task", ["work", "without_retries"])
@only_redis
def test_contention_spends_no_retries(office: Office, task: str) -> None:
    """More re-queues than max_retries allows, 3 or 0: the job still has all its retries, and runs."""
    with office.taken():
        job = office.send(task, "often")
        office.wait_for_messages("often", 6)
    assert job.get(timeout=PATIENCE) == "often"
    [run] = office.journal.runs(office.key)
    assert run.facts["seen"]["retries"] == 0
    assert run.facts["requeues"] >= 5
    assert run.facts["id"] == job.id


@pytest.mark.parametrize(
    ("serializer", "content_type", "extra", "arrives"),
    [
        ("pickle", "application/x-python-serialize", frozenset({1}), repr(frozenset({1}))),
        ("json", "application/json", {"a": [1, None]}, {"a": [1, None]}),
    ],
)
@only_redis
def test_the_serializer_of_one_call_is_kept(
    office: Office, serializer: str, content_type: str, extra: object, arrives: object
) -> None:
    """Arguments that only this call's serializer can carry arrive after the wait as they were sent, compressed too."""
    with office.taken():
        job = office.send("work", "typed", more=extra, options={"serializer": serializer, "compression": "bzip2"})
        office.wait_until_waiting(job)
    job.get(timeout=PATIENCE)
    [run] = office.journal.runs(office.key)
    messages = office.wait_for_messages("typed", 2)
    assert {message["content_type"] for message in messages} == {content_type}
    assert run.facts["seen"]["compression"] == "application/x-bz2"
    assert run.facts["seen"]["kwargs"]["more"] == arrives


@pytest.mark.xfail(celery.VERSION < (5, 6), reason="before 5.6 Celery stores RETRY for a call that ignores its result")
@only_redis
def test_an_ignored_result_stays_ignored(office: Office) -> None:
    """A job sent with ignore_result=True leaves nothing in the backend, also when it had to wait."""
    with office.taken():
        job = office.send("work", "unseen", options={"ignore_result": True})
        office.wait_for_messages("unseen", 2)
    [run] = office.journal.wait_for_runs(office.key, 1)
    assert run.facts["requeues"] >= 1
    assert run.facts["seen"]["ignore_result"] is True
    office.wait_until_free()
    assert job.state == "PENDING"


@only_redis
def test_a_waiting_job_shows_its_key_and_holder(office: Office) -> None:
    """While it waits its state is RETRY, and its info is a LockTimeout that names key and holder."""
    with office.taken() as lease:
        job = office.send("work", "waits")
        office.wait_until_waiting(job)
        info = job.info
    assert isinstance(info, LockTimeout)
    assert not isinstance(info, Retry)
    assert (info.key, info.holder) == (office.key, lease.owner)
    assert lease.owner in str(info)
    assert job.get(timeout=PATIENCE) == "waits"


@only_redis
def test_an_errback_is_called_once_for_a_job_that_waited_and_failed(office: Office) -> None:
    """Waiting calls no errback; failing after it calls it, once."""
    errback = office.app.signature("errback", kwargs={"key": office.key, "job": "errback"})
    with office.taken():
        job = office.send("fails", "broken", options={"link_error": errback})
        office.wait_until_waiting(job)
    with pytest.raises(Exception, match="run 1 of broken failed"):
        job.get(timeout=PATIENCE)
    assert office.notes("errback") == [[job.id, "BrokenJobError"]]


@only_redis
def test_a_group_of_contenders(office: Office) -> None:
    """The members of a group that share a key run one after the other, and the group's results are in order."""
    names = [f"member {number}" for number in range(4)]
    with office.taken():
        result = group(office.job("work", name, seconds=0.02) for name in names).apply_async()
        office.wait_until_waiting(*result.children)
    assert result.get(timeout=PATIENCE) == names
    judge(office.journal.runs(office.key), names)


def test_a_chords_body_runs_after_all_that_waited(office: Office) -> None:
    """A chord's body runs once, with every result in order, after the last member that had to wait."""
    names = [f"member {number}" for number in range(4)]
    body = office.app.signature("note", kwargs={"key": office.key, "job": "body"})
    with office.taken():
        result = chord(office.job("work", name, seconds=0.02) for name in names)(body)
        for name in names:
            office.wait_for_messages(name, 2)
        assert not office.journal.events("note", office.key)
    assert result.get(timeout=PATIENCE) == [names]
    judge(office.journal.runs(office.key), names)
    [note] = office.journal.events("note", office.key)
    assert all(run.end is not None and run.end < note["at"] for run in office.journal.runs(office.key))


@only_redis
def test_a_chain_goes_on_after_a_wait(office: Office) -> None:
    """Each step of a chain may wait for its key; parent and root stay the chain's."""
    steps = chain(office.job("work", "one"), office.job("work", "two"), office.job("work", "three"))
    with office.taken():
        last = steps.apply_async()
        office.wait_until_waiting(last.parent.parent)
    assert last.get(timeout=PATIENCE) == "three"
    one, two, three = office.journal.runs(office.key)
    judge([one, two, three], ["one", "two", "three"])
    assert [run.facts["seen"]["root_id"] for run in (one, two, three)] == [one.facts["id"]] * 3
    assert [run.facts["seen"]["parent_id"] for run in (one, two, three)] == [None, one.facts["id"], two.facts["id"]]
    assert last.id == three.facts["id"]


def test_a_flood_of_contenders_is_no_error(office: Office, celery_setup: CeleryTestSetup) -> None:
    """Thirty jobs for one key on two workers: all run once, one at a time, and the logs tell it at INFO."""
    before = [(worker, len(worker.logs())) for worker in celery_setup.worker_cluster]
    names = [f"job {number}" for number in range(30)]
    results = [office.send("work", name, seconds=0.03) for name in names]
    # An older Celery is slow to hear of many results one by one while they come.
    office.journal.wait_for_runs(office.key, len(names), timeout=60)
    assert [result.get(timeout=60) for result in results] == names
    judge(office.journal.runs(office.key), names)
    lines = [line for worker, start in before for line in worker.logs()[start:].splitlines()]
    assert not [line for line in lines if "ERROR" in line or "CRITICAL" in line or "Traceback" in line]
    told = [line for line in lines if f"{office.key!r} is held by work[" in line]
    assert told
    assert all("INFO" in line for line in told)


@only_redis
def test_what_a_job_sends_is_its_child(office: Office) -> None:
    """A locked job's result knows the jobs that its body sent, as any job's does."""
    with office.taken():
        job = office.send("parent", "parent")
        office.wait_until_waiting(job)
    child = job.get(timeout=PATIENCE)
    assert [each.id for each in job.children] == [child]
