"""Options and settings that mean for RQ jobs what they mean for a Celery task, in three workers that tests share."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from redis import Sentinel
from rq import Callback, Retry

from celery_locks import LockConfigError
from celery_locks.rq import waiting
from celery_locks.rq.house import House
from celery_locks.stores.redis.address import parse
from celery_locks.stores.redis.connect import wire_for
from tests.commands import celery_locks
from tests.judging import crowding, most_together
from tests.rq import jobs
from tests.rq.yard import LOCKED, PATIENCE, Yard
from tests.servers.proxy import Proxy
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def away(keeper):
    """The store `away`: RQ's Redis by a way of its own, which can be blocked."""
    with Proxy(keeper.url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def hands(keeper, away, tmp_path_factory):
    """Workers that know that store."""
    stores = json.dumps({"away": away.url})
    with Yard(keeper, tmp_path_factory.mktemp("shared"), queue="shared").workers(3, CELERY_LOCK_STORES=stores) as hands:
        yield hands


@pytest.fixture
def blocked(away):
    """The store cannot be reached, and RQ's Redis can."""
    away.refuse()
    yield away
    away.heal()


def test_a_key_stays_taken_for_at_least_so_long(shared):
    """Also when its job has ended: the next one is called when it is over, long before its countdown."""
    first = shared.send(jobs.lasting, "first")
    shared.began("first")
    second = shared.send(jobs.lasting, "second")
    shared.waits(second)
    shared.enough("first")
    shared.enough("second")
    for job in (first, second):
        shared.becomes(job, "finished")
    shared.were_apart(2)
    before, after = shared.stays()
    assert after.begin - before.begin > 2.9
    assert after.begin - before.end < 20


def test_a_retry_waits_for_a_key_that_stays_taken_after_its_first_try(shared):
    """Whatever its policy is: nobody else has the key."""
    job = shared.send(jobs.lasting_and_failing, "a", retry=Retry(max=1))
    shared.becomes(job, "finished")
    shared.were_apart(2)


def test_readers_hold_a_key_together_and_a_writer_alone(shared):
    """The writer waits for all of them, and they for it."""
    readers = [shared.send(jobs.reads, name) for name in ("r1", "r2")]
    shared.began("r1")
    shared.began("r2")
    writer = shared.send(jobs.hold, "w")
    shared.waits(writer)
    shared.enough("r1")
    shared.enough("r2")
    shared.began("w")
    late = shared.send(jobs.reads, "r3")
    shared.waits(late)
    shared.enough("w")
    shared.enough("r3")
    for job in (*readers, writer, late):
        shared.becomes(job, "finished")
    stays = shared.stays()
    assert (len(stays), most_together(stays), crowding(stays, 0)) == (4, 2, [])


@pytest.mark.parametrize(
    ("function", "said"), [(jobs.gives_up, "went back to its queue 2 times"), (jobs.gives_up_late, "lock_max_wait=1")]
)
def test_a_job_gives_up(shared, function, said):
    """It fails with LockTimeout, and only that spends a retry. What it waits for then is its retry: it counts anew."""
    with shared.locks.lock(shared.key, ttl=60):
        job = shared.send(function, "a", retry=Retry(max=1, interval=60), on_failure=Callback(jobs.gone_wrong))
        # Had it spent the retry before, it would have none left when it gives up.
        wait_until(lambda: job.refresh() or job.retries_left == 0, "the retry", PATIENCE)
        shared.waits(job)
        assert waiting(job) is None
        last = shared.send(function, "b", on_failure=Callback(jobs.gone_wrong))
        shared.becomes(last, "failed")
        assert "LockTimeout" in last.latest_result().exc_string
        assert said in last.latest_result().exc_string
        assert shared.lines("wrong.txt") == [f"{each.id} LockTimeout" for each in (job, last)]
    job.cancel()
    assert shared.stays() == []


def test_while_the_store_is_down_a_job_fails_or_runs_or_comes_again(shared, blocked):
    """As `on_outage` says: one fails, one runs without a lock, one waits and runs when the store is back."""
    retry = {"retry": Retry(max=1, interval=60)}
    failing, running = shared.send(jobs.needs_store, "a"), shared.send(jobs.runs_anyway, "b")
    waits = shared.send(jobs.outlasts, "c", **retry)
    shared.becomes(failing, "failed")
    assert "StoreUnavailable" in failing.latest_result().exc_string
    shared.becomes(running, "finished")
    shared.waits(waits)
    [unlocked] = shared.stays()
    assert (unlocked.owner[0], unlocked.fence) == ("b", 0)
    blocked.heal()
    shared.becomes(waits, "finished")
    waits.refresh()
    assert waits.retries_left == 1
    shared.were_apart(2)


def test_a_job_whose_lease_is_gone(shared):
    """Is ended by LockLost, told by its lease, or was not to be beaten for, as its options say."""
    ended, told = shared.send(jobs.hold_short, "ended"), shared.send(jobs.unbeaten, "unbeaten")
    shared.began("ended")
    assert shared.locks.force_release(shared.key)
    shared.becomes(ended, "failed")
    assert "LockLost" in ended.latest_result().exc_string
    shared.began("unbeaten")
    shared.becomes(told, "failed")
    assert "LockLost" in told.latest_result().exc_string
    flagged = shared.send(jobs.flagged, "flagged")
    shared.began("flagged")
    assert shared.locks.force_release(shared.key)
    shared.enough("flagged")
    shared.becomes(flagged, "finished")
    assert flagged.return_value() == "flagged"


def test_a_job_that_is_not_to_stand_in_line_comes_by_its_countdown(shared):
    """It has no place, and others are not kept from the key for it."""
    lock = shared.locks.lock(shared.key, ttl=60)
    assert lock.acquire()
    job = shared.send(jobs.unfair, "a")
    wait_until(lambda: (shown := waiting(job)) and shown.requeues > 1, "two tries", PATIENCE)
    assert waiting(job).ticket is None
    assert not shared.connection.exists(f"lock:{{{shared.key}}}:line")
    lock.release()
    shared.becomes(job, "finished")
    shared.were_apart(1)


def test_keys_are_made_of_names_and_arguments(shared):
    """By all kinds of templates, and by a function: several keys are sorted."""
    named, other, several = (
        shared.queue.enqueue(jobs.named, shared.key),
        shared.queue.enqueue(jobs.named, folder=shared.key),
        shared.queue.enqueue(jobs.called_for, shared.key),
    )
    for job in (named, other, several):
        shared.becomes(job, "finished")
    assert named.return_value().startswith("tests.rq.jobs.named:")
    assert named.return_value() == other.return_value()
    assert several.return_value() == (f"{shared.key}:a", f"{shared.key}:b")


def test_the_command_line_shows_who_has_a_key_and_frees_it(shared):
    """Of an RQ job it knows the id; who waits is in line there, and is called when somebody frees the key."""
    job = shared.send(jobs.hold_short, "first")
    shared.began("first")
    waits = shared.send(jobs.patient, "second")
    shared.waits(waits)
    url = shared.server.url
    [said] = celery_locks(url, "show", "--json", shared.key).said
    [holder] = said["holders"]
    assert (holder["task"], holder["task_id"]) == ("tests.rq.jobs.hold_short", job.id)
    assert [each["stands"] for each in said["line"]] == ["queue"]
    assert "an RQ job" in celery_locks(url, "show", shared.key).out
    assert shared.key in celery_locks(url, "stats", "--most", 1000).out
    assert celery_locks(url, "release", "--force", shared.key).code == 0
    shared.becomes(waits, "finished")
    shared.becomes(job, "failed")
    shared.were_apart(1)


def test_a_pool_of_workers(yard):
    """RQ's own command starts several of ours."""
    with yard.workers(1, LOCKED, "-n", "2", what="worker-pool") as [pool]:
        wait_until(lambda: pool.said().count("Listening on") == 2, "both workers", PATIENCE)
        yard.send(jobs.hold, "first")
        yard.began("first")
        second = yard.send(jobs.patient, "second")
        yard.waits(second)
        yard.enough("first")
        yard.becomes(second, "finished")
        yard.were_apart(2)


def test_settings_of_django():
    """What is given to `configure` comes before them, and the environment before both.

    They hold also where a job's module was the first to load them.
    """
    code = """
import django.conf
from redis import Redis
from celery_locks import config, rq
from celery_locks.rq.house import House
assert "localhost" in House.of(Redis()).settings(None).url
settings = django.conf.settings
settings.configure(CELERY_LOCK_STORE="redis://a/1", CELERY_LOCK_PREFIX="b:", CELERY_LOCK_TTL=7, CELERY_LOCK_WAIT=8)
assert House.of(Redis()).settings(None).url == "redis://a/1"
rq.configure(wait=9)
house = House.of(Redis())
defaults = config.defaults(house.conf)
print(*house.settings(None)[:2], *(defaults[f"lock_{name}"] for name in ("ttl", "wait", "countdown")))
settings.CELERY_LOCK_STOER = "redis://c"
rq.configure()
try:
    House.of(Redis()).open_all()
except rq.house.LockConfigError as error:
    print(error)
"""
    env = {"CELERY_LOCK_COUNTDOWN": "3", "PATH": ""}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    settings, _, mistake = said.stdout.partition("\n")
    assert settings == "redis://a/1 b: 7 9 3", said.stderr
    assert "did you mean lock_store" in mistake


def test_the_default_store_is_found_by_sentinels():
    """With the login of the Redis that they name, and their own; TLS is for all of them or for none."""
    sentinels = Sentinel([("::1", 26379), ("two", 26380)], sentinel_kwargs={"password": "other"})
    redis = sentinels.master_for("main", db=3, username="u", password="p/w")
    settings = House.of(redis).settings(None)
    assert settings.url == "redis+sentinel://u:p%2Fw@[::1]:26379,two:26380/main/3"
    assert settings.options["sentinel_password"] == "other"
    wire_for(parse(settings.url), dict(settings.options))
    tls = {"ssl": True, "ssl_cert_reqs": "none"}
    named = House.of(Sentinel([("one", 1)], sentinel_kwargs=tls, **tls).master_for("main")).settings(None)
    assert (named.url, named.options["ssl_cert_reqs"]) == ("rediss+sentinel://one:1/main/0", "none")
    wire_for(parse(named.url), dict(named.options))
    with pytest.raises(LockConfigError, match="CELERY_LOCK_STORE"):
        House.of(Sentinel([("one", 1)], **tls).master_for("main")).settings(None)
