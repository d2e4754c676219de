"""However a body ends, its key is free, and a job that comes again takes it anew."""

from __future__ import annotations

import celery
import pytest

from tests.acceptance.journal import judge
from tests.acceptance.office import PATIENCE, Office, only_redis


@pytest.mark.parametrize(("task", "arguments"), [("autoretry", {}), ("retry", {"after": 3.0})])
@only_redis
def test_a_retry_releases_and_takes_again(office: Office, task: str, arguments: dict[str, float]) -> None:
    """A job that is tried again runs as often as it asked for, each time under a lease of its own.

    Its key is free in between: another job runs there.
    """
    job = office.send(task, "retried", times=2, **arguments)
    office.journal.wait_for_runs(office.key, 1)
    office.wait_until_free()
    office.send("work", "between").get(timeout=PATIENCE)
    assert job.get(timeout=PATIENCE) == 3
    runs = office.journal.runs(office.key)
    judge(runs, ["retried"] * 3 + ["between"])
    assert [run.job for run in runs[:2]] == ["retried", "between"]
    assert len({run.facts["owner"] for run in runs}) == 4
    assert {run.facts["id"] for run in runs if run.job == "retried"} == {job.id}
    assert [run.facts["seen"]["retries"] for run in runs if run.job == "retried"] == [0, 1, 2]


@only_redis
def test_a_retry_that_meets_its_key_taken_counts_its_own_retries(office: Office) -> None:
    """Waiting between two tries adds nothing to the retries the job has used."""
    job = office.send("retry", "retried", times=1, after=2.0)
    office.journal.wait_for_runs(office.key, 1)
    with office.locks.lock(office.key, ttl=60):
        office.wait_for_messages("retried", 4)
    assert job.get(timeout=PATIENCE) == 2
    assert [run.facts["seen"]["retries"] for run in office.journal.runs(office.key)] == [0, 1]


def test_a_job_that_replaces_itself(office: Office) -> None:
    """self.replace() by a job with the same key: it waits for its predecessor to end, and its result is the job's."""
    job = office.send("replace", "first")
    assert job.get(timeout=PATIENCE) == "first replaced"
    runs = office.journal.runs(office.key)
    judge(runs, ["first", "first replaced"])
    assert {run.facts["id"] for run in runs} == {job.id}
    office.wait_until_free()


@pytest.mark.parametrize("task", ["fails", "ignore", "reject"])
@only_redis
def test_a_body_that_gives_up_frees_its_key(office: Office, task: str) -> None:
    """An error, Ignore or Reject raised in the body releases the key at once, long before its ttl of a minute."""
    office.send(task, "gives up", options={"ignore_result": True})
    office.journal.wait_for_runs(office.key, 1)
    office.wait_until_free()
    assert office.send("work", "next").get(timeout=PATIENCE) == "next"


def test_a_rejected_message_comes_again(office: Office) -> None:
    """Reject(requeue=True) in the body: the message comes again, takes the key again, and runs."""
    job = office.send("reject", "comes again", requeue=True)
    assert job.get(timeout=PATIENCE) == "comes again"
    judge(office.journal.runs(office.key), ["comes again"] * 2)


@only_redis
def test_a_waiting_job_is_revoked(office: Office) -> None:
    """Revoked while it waits, a job never runs and ends REVOKED; it leaves no lock behind."""
    with office.taken():
        job = office.send("work", "revoked")
        office.wait_until_waiting(job)
        office.app.control.revoke(job.id)
        office.wait_for_state(job, "REVOKED")
    assert_gone(office, job.id)


def test_a_waiting_job_expires(office: Office) -> None:
    """Expired while it waits, a job never runs and ends REVOKED; it leaves no lock behind."""
    with office.taken():
        job = office.send("work", "expires", options={"expires": 4.0})
        office.wait_until_waiting(job)
        office.wait_for_state(job, "REVOKED")
    assert_gone(office, job.id)


@pytest.mark.xfail(
    celery.VERSION < (5, 6),
    strict=False,  # it is a race
    reason="before 5.6 Celery stores the RETRY of the first message whatever we do: over the REVOKED of the second",
)
@only_redis
def test_a_job_that_expires_in_its_slot_ends(office: Office) -> None:
    """A job whose time is over when it gives up waiting in its slot does not hang: it never runs and ends REVOKED."""
    with office.taken():
        job = office.send("patient_a_second", "expires", options={"expires": 0.7})
        office.wait_for_state(job, "REVOKED", timeout=15)
    assert_gone(office, job.id)


def assert_gone(office: Office, job_id: str) -> None:
    """The key is free for the next job, the job never ran, and nothing in the store has its name."""
    assert office.send("work", "next").get(timeout=PATIENCE) == "next"
    assert office.journal.jobs(office.key) == ["next"]
    office.wait_until_free()
    assert office.app.AsyncResult(job_id).state == "REVOKED"
    assert not [text for text in office.written() if job_id in text]
