"""What is said of a job before there is one, and what is needed for that."""

from __future__ import annotations

import subprocess
import sys

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as Unreachable
from rq import Queue, SimpleWorker

from celery_locks import LockConfigError, LockTimeout
from celery_locks.rq import LockedJob, LockedWorker, configure, execution, locked
from celery_locks.rq.house import House
from celery_locks.rq.waits import FIELD, Room, Wait
from tests.rq import jobs


def test_it_needs_no_celery():
    """Neither those who enqueue nor the workers import it."""
    code = (
        "import sys, celery_locks.rq as it; [getattr(it, name) for name in it.__all__ if 'Spawn' not in name];"
        " sys.exit(bool({'celery', 'kombu', 'billiard'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_mistakes_are_found_where_they_are_made():
    """With what to do, before there is a job."""
    with pytest.raises(LockConfigError, match="did you mean lock_countdown"):
        locked(countdwn=3)(jobs.follows)
    with pytest.raises(LockConfigError, match=r"did you mean \{folder\}"):
        locked(key="{foldr}")(jobs.follows)
    with pytest.raises(LockConfigError, match="did you mean lock_store"):
        configure(stor="redis://")


def test_the_default_store_is_the_redis_of_rq():
    """Whatever it is reached by; a store that is named comes before it."""
    said = {
        "redis://:a%2Fb@localhost:6380/3": "redis://:a%2Fb@localhost:6380/3",
        "unix:///tmp/r.sock?db=2": "unix:///tmp/r.sock?db=2",
        "rediss://u:p@localhost:6380": "rediss://u:p@localhost:6380/0",
    }
    for url, known in said.items():
        assert House.of(Redis.from_url(url)).settings(None).url == known


def test_a_certificate_goes_along(tmp_path):
    """Of a Redis behind TLS the store is told what RQ was told."""
    settings = House.of(Redis.from_url(f"rediss://localhost:1/0?ssl_ca_certs={tmp_path}/ca.pem")).settings(None)
    assert settings.options["ssl_ca_certs"] == f"{tmp_path}/ca.pem"


def test_a_call_by_hand_needs_a_store(monkeypatch):
    """There is no job whose Redis could be it; with one it takes the lock, or says who has it."""
    called = locked(key="by-hand:{folder}")(lambda folder: folder)
    with pytest.raises(LockConfigError, match="CELERY_LOCK_STORE"):
        called("a")
    monkeypatch.setenv("CELERY_LOCK_STORE", "memory://by-hand")
    assert called("a") == "a"
    inner = locked(key="by-hand:{folder}")(lambda folder: called(folder))  # noqa: PLW0108 - a function of its own
    with pytest.raises(LockTimeout):
        inner("a")


def test_a_queue_without_workers_runs_jobs_under_their_locks(yard):
    """`is_async=False` runs them here and now: they have nowhere to go back to."""
    queue = Queue("sync", connection=yard.connection, is_async=False)
    assert queue.enqueue(jobs.brief, yard.key, "first").is_finished
    with yard.locks.lock(yard.key):
        assert "LockTimeout" in queue.enqueue(jobs.brief, yard.key, "second").latest_result().exc_string


def test_workers_make_locked_jobs(yard, caplog):
    """Also where RQ's command line says what it makes by default; another class is kept, and warned of."""
    assert LockedWorker([yard.queue], connection=yard.connection, job_class="rq.job.Job").job_class is LockedJob
    other = type("Other", (LockedJob.__mro__[1],), {})
    assert LockedWorker([yard.queue], connection=yard.connection, job_class=other).job_class is other
    assert "derive it from celery_locks.rq.LockedJob" in caplog.text


def test_a_worker_of_rq_runs_them_in_its_own_process(yard):
    """One whose key is taken goes to the end of its queue when nobody attends to what waits: it is not lost."""
    worker = SimpleWorker([yard.queue], connection=yard.connection)
    job = yard.send(jobs.impatient, "first")
    with yard.locks.lock(yard.key, ttl=60):
        worker.work(burst=True, max_jobs=2)
        assert (job.get_status(), yard.queue.job_ids) == ("queued", [job.id])
    worker.work(burst=True)
    assert job.get_status() == "finished"


def test_a_redis_that_is_away_for_a_moment_fails_no_job(yard, monkeypatch, caplog):
    """RQ's own worker asks it who attends to what waits, and what has waited before: it can do without."""

    def away(*_):
        raise Unreachable("gone")

    job = yard.send(jobs.impatient, "first")
    monkeypatch.setattr(Room, "is_attended", away)
    monkeypatch.setattr(execution, "wait_of", away)
    with yard.locks.lock(yard.key, ttl=60):
        SimpleWorker([yard.queue], connection=yard.connection).work(burst=True, max_jobs=1)
    assert job.get_status() == "queued"
    assert "whether anybody attends to" in caplog.text
    assert "counts anew: gone" in caplog.text
    SimpleWorker([yard.queue], connection=yard.connection).work(burst=True)
    assert job.get_status() == "finished"
    assert not yard.connection.hexists(job.key, FIELD)


def test_what_is_known_of_a_wait_is_read_as_it_was_written():
    """And what cannot be read says nothing."""
    wait = Wait(3, 17.5, "jobs.sync", "k", "o", "1-t", "s", comes=True, due=20.0)
    assert Wait.from_json(wait.to_json()) == wait
    assert [Wait.from_json(text) for text in (None, b"", b"{", b"[1]", b"3", b"{}")] == [None] * 6


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CELERY_LOCK_STORE", "reddis://here", "did you mean redis://"),
        ("CELERY_LOCK_TTL", "soon", "lock_ttl"),
        ("CELERY_LOCK_TASKS", '{"shop.*": {"keey": "a"}}', "did you mean lock_key"),
        ("CELERY_LOCK_STOER", "redis://here", "did you mean lock_store"),
    ],
)
def test_a_worker_does_not_begin_with_a_mistake_in_its_settings(yard, monkeypatch, name, value, said):
    """It says which, and how to mend it."""
    monkeypatch.setenv(name, value)
    configure()
    with pytest.raises(LockConfigError, match=said):
        LockedWorker([yard.queue], connection=yard.connection).work(burst=True)
    monkeypatch.undo()
    configure()
