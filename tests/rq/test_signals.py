"""What is told of an RQ job: to receivers in the process where it happens, and by log lines."""

from __future__ import annotations

import pytest

from celery_locks import signals
from celery_locks.rq import LockedSimpleWorker
from tests.rq import jobs
from tests.rq.yard import LOCKED

OWN = """
DICT_CONFIG = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"own": {"format": "ours: %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "own"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
"""


@pytest.fixture
def told():
    """All events of a test, as they come."""
    events = []
    kinds = [each for each in vars(signals).values() if isinstance(each, signals.Signal)]
    for each in kinds:
        each.connect(events.append)
    yield events
    for each in kinds:
        each.disconnect(events.append)


def test_the_signals_of_a_job_that_waits(yard, told):
    """Each says whose it is, where, and how long it took."""
    lock = yard.locks.lock(yard.key, ttl=60)
    assert lock.acquire()
    holder = lock.owner
    sent, worker = yard.send(jobs.brief, "first"), LockedSimpleWorker([yard.queue], connection=yard.connection)

    @signals.requeued.connect
    def free(event):
        if event.task_id == sent.id:
            lock.release()

    try:
        worker.work(burst=True)
    finally:
        signals.requeued.disconnect(free)
    mine = [each for each in told if each.task_id == sent.id]
    # Who calls it says so when it is on its queue: it may have begun by then.
    [woken] = [each for each in mine if type(each).__name__ == "Woken"]
    others = [each for each in mine if each is not woken]
    assert [type(each).__name__ for each in others] == ["Contended", "Requeued", "Acquired", "Released"]
    assert {(each.key, each.task, each.worker) for each in mine} == {(yard.key, "tests.rq.jobs.brief", worker.name)}
    contended, requeued, acquired, released = others
    assert contended.holder == requeued.holder == holder
    assert (contended.attempts, requeued.attempts, woken.attempts, acquired.attempts) == (0, 1, 1, 1)
    assert acquired.delayed > 0
    assert released.held >= 0.05


def test_the_signal_of_a_job_that_is_skipped(yard, told):
    """With the reason, which its hash has too."""
    with yard.locks.lock(yard.key, ttl=60):
        job = yard.send(jobs.skipped, "first")
        LockedSimpleWorker([yard.queue], connection=yard.connection).work(burst=True)
    [skipped] = [each for each in told if type(each).__name__ == "Skipped"]
    assert (skipped.task_id, skipped.reason) == (job.id, yard.connection.hget(job.key, "lock_skipped").decode())


@pytest.mark.parametrize("how", ["alone", "verbose", "own"])
def test_log_lines_are_shown_beside_those_of_rq(yard, how):
    """As much as RQ's worker is told to say, and where somebody has set up logging as that says."""
    (yard.folder / "own_logging.py").write_text(OWN)
    words = {"alone": [], "verbose": ["-v"], "own": ["-c", "own_logging", "-P", str(yard.folder)]}[how]
    with yard.locks.lock(yard.key, ttl=60):
        first = yard.send(jobs.patient, "first")
        with yard.workers(1, LOCKED, *words) as [hand]:
            yard.waits(first)
            yard.becomes(yard.send(jobs.follows, "last"), "finished")
            lines = [line for line in hand.said().splitlines() if "is held by" in line]
            verbose = f"jobs.patient[{first.id}]: waits for '{yard.key}', try 1" in hand.said()
    [line] = lines
    assert f"jobs.patient[{first.id}]: '{yard.key}' is held by lock@" in line
    assert line.startswith("ours: celery_locks ") == (how == "own")
    assert verbose == (how == "verbose")
