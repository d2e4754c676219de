"""Jobs that are in their queue only once, sent to a real worker."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest
from celery import Celery, chain, chord, group
from celery.exceptions import TimeLimitExceeded, WorkerLostError
from kombu.exceptions import OperationalError

from tests.acceptance.counter import QUEUE, Counter
from tests.acceptance.journal import judge
from tests.acceptance.nodes import Worker
from tests.acceptance.office import PATIENCE, only_rabbitmq, only_redis
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.acceptance.conftest import System
    from tests.acceptance.office import Office

MANY = 20


@pytest.fixture(scope="module")
def worker(system: System) -> Iterator[Worker]:
    """One worker of two processes for all tests of a broker, started when the first asks for it."""
    ann = Worker("single-ann", system.conf, system.journal, queues=[QUEUE], module="tests.acceptance.singles")
    ann.start()
    yield ann
    ann.close()


@pytest.fixture
def counter(desk: Office) -> Counter:
    """Where the jobs are sent from."""
    return Counter(desk)


@pytest.fixture
def until(tmp_path: Path) -> Iterator[Path]:
    """The file for which jobs wait that stay open."""
    yield tmp_path / "until"
    (tmp_path / "until").touch()


def test_a_second_send_gives_the_first_result(counter: Counter, worker: Worker, until: Path) -> None:
    """While the first is queued and while it runs; once it is done, the next is sent."""
    first = counter.send("single_open", "first", until=str(until))
    assert counter.send("single_open", "second", until=str(until)).id == first.id
    counter.desk.journal.wait_for_start(counter.desk.key, "first")
    again = counter.send("single_open", "third", until=str(until))
    assert again.id == first.id
    until.touch()
    assert again.get(timeout=PATIENCE) == "first"
    assert counter.is_freed("single_open")
    fourth = counter.send("single_open", "fourth", until=str(until))
    assert fourth.get(timeout=PATIENCE) == "fourth"
    assert counter.desk.journal.jobs(counter.desk.key) == ["first", "fourth"]
    assert worker.is_alive()


@pytest.mark.usefixtures("worker")
@only_redis
def test_fifty_senders_at_once(counter: Counter, until: Path) -> None:
    """One job is published, and all have its result."""
    at_once, results = threading.Barrier(50), []

    def send(number: int) -> None:
        at_once.wait(timeout=PATIENCE)
        # A thread that waits for results has a connection of its own, which nobody closes.
        options = {"ignore_result": True}
        results.append(counter.send("single_open", f"sender {number}", until=str(until), options=options))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(results) == 50
    assert len({result.id for result in results}) == 1
    until.touch()
    counter.desk.journal.wait_for_runs(counter.desk.key, 1)
    assert counter.is_freed("single_open")
    assert len(counter.desk.journal.events("message", counter.desk.key)) == 1


@only_redis
def test_a_broker_that_cannot_be_reached(counter: Counter, celery_setup_app: Celery) -> None:
    """What cannot be published has no place; the same job is sent as soon as there is a broker."""
    url = celery_setup_app.conf.broker_url
    celery_setup_app.conf.update(broker_url="redis://127.0.0.1:1", broker_transport_options={"max_retries": 0})
    with pytest.raises((OperationalError, OSError)):
        counter.send("single", "lost", options={"retry": False, "queue": "nobody"})
    assert counter.holder("single") is None
    celery_setup_app.conf.broker_url = url


@pytest.mark.usefixtures("worker")
@only_redis
def test_a_retry_keeps_the_place(counter: Counter) -> None:
    """Between its tries, in which its key is free, and while it runs again."""
    desk = counter.desk
    job = counter.send("single_retry", "tried", times=2)
    desk.journal.wait_for_runs(desk.key, 1)
    desk.wait_until_free()
    assert counter.send("single_retry", "second", times=0).id == job.id
    desk.journal.wait_for_start(desk.key, "tried", times=2)
    assert counter.send("single_retry", "third", times=0).id == job.id
    assert job.get(timeout=PATIENCE) == 3
    assert counter.is_freed("single_retry")
    assert desk.journal.jobs(desk.key) == ["tried"] * 3


@pytest.mark.usefixtures("worker")
@only_redis
def test_a_failure_frees_the_place(counter: Counter) -> None:
    """A job that failed for good is no more in the way."""
    job = counter.send("single_fails", "fails")
    counter.desk.wait_for_state(job, "FAILURE")
    assert counter.is_freed("single_fails")


@pytest.mark.usefixtures("worker")
def test_a_message_that_goes_back_keeps_the_place(counter: Counter) -> None:
    """Reject(requeue=True): it comes again, takes it over again, and frees it when it is done."""
    job = counter.send("single_reject", "rejected", requeue=True)
    assert job.get(timeout=PATIENCE) == "rejected"
    assert counter.is_freed("single_reject")
    assert counter.desk.journal.jobs(counter.desk.key) == ["rejected"] * 2


@pytest.mark.usefixtures("worker")
@only_redis
def test_a_job_that_waits_for_its_key_keeps_the_place(counter: Counter) -> None:
    """However often it goes back to its queue."""
    with counter.desk.taken():
        job = counter.send("single", "waits")
        counter.desk.wait_for_messages("waits", 2)
        assert counter.send("single", "second").id == job.id
    assert job.get(timeout=PATIENCE) == "waits"
    assert counter.is_freed("single")
    assert counter.desk.journal.jobs(counter.desk.key) == ["waits"]


@pytest.mark.usefixtures("worker")
@only_redis
def test_a_revoked_job_frees_the_place(counter: Counter) -> None:
    """Revoked before it began, by the worker that discards it."""
    with counter.desk.taken():
        job = counter.send("single", "revoked")
        counter.desk.wait_until_waiting(job)
        counter.desk.app.control.revoke(job.id)
        counter.desk.wait_for_state(job, "REVOKED")
        assert counter.is_freed("single")
    assert counter.desk.journal.jobs(counter.desk.key) == []


def test_an_expired_job_frees_the_place(counter: Counter, worker: Worker) -> None:
    """Expired before it began, by the worker that discards it."""

    def is_discarded() -> bool:
        # A process that says late that the job went back to its queue may have the last word of its state.
        return job.state == "REVOKED" or f"Discarding revoked task: single[{job.id}]" in worker.log()

    with counter.desk.taken():
        job = counter.send("single", "expires", options={"expires": 4.0})
        counter.desk.wait_until_waiting(job)
        wait_until(is_discarded, f"{job.id} to be discarded", PATIENCE)
        assert counter.is_freed("single")
    assert counter.desk.journal.jobs(counter.desk.key) == []


def test_a_job_that_expires_in_its_queue_frees_the_place(counter: Counter) -> None:
    """RabbitMQ drops it, and with Redis it lies there: nobody need come for it."""
    job = counter.send("single", "expires", options={"expires": 1.0, "queue": "nobody"})
    assert counter.holder("single") == job.id
    assert counter.is_freed("single")


@pytest.mark.usefixtures("worker")
@only_redis
def test_a_terminated_job_frees_the_place(counter: Counter, until: Path) -> None:
    """revoke(terminate=True) while it runs, long before its ttl of a minute."""
    job = counter.send("single_open", "terminated", until=str(until))
    counter.desk.journal.wait_for_start(counter.desk.key, "terminated")
    counter.desk.app.control.revoke(job.id, terminate=True)
    assert counter.is_freed("single_open")


@pytest.mark.usefixtures("worker")
@only_redis
def test_a_hard_time_limit_frees_the_place(counter: Counter) -> None:
    """Its process is killed, and its worker gives it back."""
    job = counter.send("single_hard", "too long", seconds=60)
    with pytest.raises(TimeLimitExceeded):
        job.get(timeout=PATIENCE)
    assert counter.is_freed("single_hard")


@pytest.mark.usefixtures("worker")
@only_redis
def test_a_killed_process_frees_the_place(counter: Counter, until: Path) -> None:
    """SIGKILL for the pool process of a job that was acknowledged early: it will not come again."""
    job = counter.send("single_open", "killed", until=str(until))
    os.kill(counter.desk.journal.wait_for_start(counter.desk.key, "killed").pid, signal.SIGKILL)
    assert counter.is_freed("single_open")
    with pytest.raises(WorkerLostError):
        job.get(timeout=PATIENCE)


@pytest.mark.usefixtures("worker")
@only_rabbitmq
def test_a_job_that_is_delivered_again_takes_its_place_again(counter: Counter, until: Path) -> None:
    """SIGKILL for the pool process of a job that is acknowledged late: the copy is unique while it runs."""
    desk = counter.desk
    job = counter.send("single_late", "killed", until=str(until))
    os.kill(desk.journal.wait_for_start(desk.key, "killed").pid, signal.SIGKILL)
    desk.journal.wait_for_start(desk.key, "killed", times=2)
    wait_until(lambda: counter.holder("single_late") == job.id, "the copy to have the place", PATIENCE)
    assert counter.send("single_late", "second", until=str(until)).id == job.id
    until.touch()
    assert job.get(timeout=PATIENCE) == "killed"
    assert counter.is_freed("single_late")


@pytest.fixture(scope="module")
def wide(system: System) -> Iterator[Worker]:
    """A worker with a process for each of many jobs, and some for copies, each of which asks once and then waits."""
    module, conf = "tests.acceptance.singles", {**system.conf, "lock_countdown": 60.0}
    bob = Worker("single-bob", conf, system.journal, queues=["wide"], concurrency=MANY + 4, module=module)
    bob.start()
    yield bob
    bob.close()


@only_redis
@pytest.mark.parametrize("task", ["single_late", "single_late_start"])
def test_copies_of_running_jobs_wait_and_do_not_run(counter: Counter, wide: Worker, until: Path, task: str) -> None:
    """A visibility timeout brings messages again: each copy waits for its key, and ends when its job has ended."""
    desk, keys = counter.desk, [f"{counter.desk.key}-{number}" for number in range(MANY)]
    jobs = {key: counter.on(key, task, "long", until=str(until)).apply_async(queue="wide") for key in keys}
    for key in keys:
        desk.journal.wait_for_start(key, "long")
    desk.copy_running({key: job.id for key, job in jobs.items()}, [wide])
    until.touch()
    assert [job.get(timeout=PATIENCE) for job in jobs.values()] == ["long"] * MANY

    def ended() -> bool:
        log = wide.log()
        return all(f"{task}[{job.id}]: its message came once more" in log for job in jobs.values())

    wait_until(ended, "the copies to end", PATIENCE)
    assert [desk.journal.jobs(key) for key in keys] == [["long"]] * MANY
    assert {job.state for job in jobs.values()} == {"SUCCESS"}
    wait_until(lambda: not [each for each in desk.locks.list("unique:*") if desk.key in each.key], "places to be free")


@only_redis
def test_a_copy_at_another_worker(
    counter: Counter, worker: Worker, hire: Callable[..., Worker], until: Path, tmp_path: Path
) -> None:
    """It does not run when the first has ended well, and runs when the first's worker was killed.

    The place of that is free within one ttl.
    """
    desk, control, there = counter.desk, counter.desk.app.control, {"queue": "singles-dead"}
    victim = hire("victim", queues=["singles-dead"], module="tests.acceptance.singles")
    victim.start()
    first = counter.send("single_late", "ends", until=str(until), options=there)
    desk.journal.wait_for_start(desk.key, "ends")
    control.cancel_consumer("singles-dead", destination=[victim.name], reply=True)
    control.add_consumer("singles-dead", destination=[worker.name], reply=True)
    desk.copy_running({desk.key: first.id}, [worker])
    assert counter.send("single_late", "second", until=str(until), options=there).id == first.id
    until.touch()
    assert first.get(timeout=PATIENCE) == "ends"
    wait_until(lambda: f"[{first.id}]: its message came once more" in worker.log(), "the copy to end", PATIENCE)

    control.cancel_consumer("singles-dead", destination=[worker.name], reply=True)
    control.add_consumer("singles-dead", destination=[victim.name], reply=True)
    after = tmp_path / "after"
    killed = counter.send("single_late", "killed", until=str(after), options=there)
    desk.journal.wait_for_start(desk.key, "killed")
    held = counter.place("single_late")
    wait_until(lambda: (has := desk.locks.holder(held)) and has.remaining < 2, "the worker to have taken it over")
    victim.kill()
    assert counter.is_freed("single_late")
    control.add_consumer("singles-dead", destination=[worker.name], reply=True)
    desk.put_back(after=0.0)
    desk.journal.wait_for_start(desk.key, "killed", times=2)
    after.touch()
    assert killed.get(timeout=PATIENCE) == "killed"
    control.cancel_consumer("singles-dead", destination=[worker.name], reply=True)
    assert desk.journal.jobs(desk.key) == ["ends", "killed", "killed"]


@pytest.mark.usefixtures("worker")
@only_redis
def test_until_start_lets_one_wait_while_another_runs(counter: Counter, until: Path) -> None:
    """The second is queued once the first runs, and a third is one too many; both run, one after the other."""
    desk = counter.desk
    first = counter.send("single_start", "first", until=str(until))
    desk.journal.wait_for_start(desk.key, "first")
    second = counter.send("single_start", "second", until=str(until))
    assert second.id != first.id
    desk.wait_until_waiting(second)
    assert counter.send("single_start", "third", until=str(until)).id == second.id
    until.touch()
    assert [job.get(timeout=PATIENCE) for job in (first, second)] == ["first", "second"]
    judge(desk.journal.runs(desk.key), ["first", "second"])
    assert counter.is_freed("single_start")


@pytest.mark.usefixtures("worker")
@only_redis
def test_a_chord_with_a_job_twice_ends(counter: Counter) -> None:
    """What a chord counts on is sent, however often: its body is called."""
    twice = [counter.job("single", "one"), counter.job("single", "two")]
    body = counter.desk.app.signature("note", kwargs={"key": counter.desk.key, "job": "body"}, queue=QUEUE)
    chord(twice, body).apply_async()
    assert counter.desk.notes("body") == [[["one", "two"]]]
    assert counter.is_freed("single")
    judge(counter.desk.journal.runs(counter.desk.key), ["one", "two"])


@pytest.mark.usefixtures("worker")
@only_redis
def test_a_group_and_a_chain_with_a_job_twice_end(counter: Counter) -> None:
    """All results that were given out come, also while another job has the place."""
    with counter.desk.taken():
        alone = counter.send("single", "alone")
        both = group(counter.job("single", "one"), counter.job("single", "two")).apply_async()
        last = chain(counter.job("single", "three"), counter.job("single", "four")).apply_async()
    assert alone.get(timeout=PATIENCE) == "alone"
    assert both.get(timeout=PATIENCE) == ["one", "two"]
    assert last.get(timeout=PATIENCE) == "four"
    judge(counter.desk.journal.runs(counter.desk.key), ["alone", "one", "two", "three", "four"])
    assert counter.is_freed("single")


@pytest.mark.usefixtures("worker")
@only_redis
def test_nothing_of_it_stays(counter: Counter) -> None:
    """After its job a place is a key that is free."""
    counter.send("single", "one").get(timeout=PATIENCE)
    assert counter.is_freed("single")
    assert not [each for each in counter.desk.locks.list("unique:*") if counter.desk.key in each.key]
