"""How the worker's part keeps those in line that wait, starts who is called, and gives up their places at its end."""

from __future__ import annotations

import pytest

from celery_locks import requeue, signals
from celery_locks.lease import Busy
from celery_locks.stores.base import Look, Waiting
from tests.unit.hall import DATE, KEY, Hall, come, job, waits
from tests.waiting import wait_until


def test_a_job_at_the_door_starts_when_it_is_called(hall, at_work):
    """With the date it got, and once; the waker knows nothing of it then."""
    task = job(hall)
    consumer, part = at_work(task)
    request = come(task)
    consumer.receive(part, request)
    assert consumer.started == []
    ticket = requeue.place(request.request_dict)[1]
    hall.lines.looks[Waiting(KEY, ticket)] = Look(2.0, turn=True, busy=Busy(None, 2.0, 1, DATE + ticket))
    hall.attend()
    consumer.turn()
    assert consumer.started == [request]
    assert requeue.place(request.request_dict) == (KEY, DATE + ticket)
    consumer.entries[0].fun(*consumer.entries[0].args)
    assert consumer.started == [request]
    assert not hall.waker._roll.waiters


def test_a_job_with_a_countdown_of_its_users_is_left_alone(hall, at_work):
    """It is in no line, and its time is its own."""
    task = job(hall)
    consumer, part = at_work(task)
    request = come(task, countdown=60)
    consumer.receive(part, request)
    assert request.held is None
    assert requeue.place(request.request_dict) is None
    assert consumer.entries[0].args == (request,)
    assert not hall.waker._roll.waiters


def test_a_requeued_job_is_attended_to(hall, at_work):
    """With the ticket it brought along; its time may be over before it is called."""
    task = job(hall)
    consumer, part = at_work(task)
    request = waits(task)
    consumer.receive(part, request)
    hall.attend()
    assert hall.lines.attended == [[Waiting(KEY, f"{DATE}ann")]]
    entry = consumer.entries[0]
    entry.fun(*entry.args)
    assert consumer.started == [request]
    assert not hall.waker._roll.waiters


def test_a_worker_that_ends_gives_up_its_places(hall, at_work):
    """All who wait are out of line and of the roll, and nobody is started who is called then."""
    task = job(hall)
    consumer, part = at_work(task)
    first, second = waits(task), come(task)
    for request in (first, second):
        consumer.receive(part, request)
    call = hall.waker._roll.find(f"{DATE}ann").call
    part.stop(consumer)
    ticket = requeue.place(second.request_dict)[1]
    assert sorted(hall.lines.left) == sorted([Waiting(KEY, f"{DATE}ann"), Waiting(KEY, ticket)])
    call(f"{DATE}ann")
    consumer.turn()
    assert consumer.started == []


def test_a_worker_that_lost_its_broker_begins_anew(hall, at_work):
    """The same message comes again, and is attended to as the first was."""
    task = job(hall)
    consumer, part = at_work(task)
    consumer.receive(part, waits(task))
    part.stop(consumer)
    part.start(consumer)
    request = waits(task)
    consumer.receive(part, request)
    hall.waker._roll.find(f"{DATE}ann").call(f"{DATE}ann")
    consumer.turn()
    assert consumer.started == [request]


def test_a_revoked_job_leaves_its_line(hall, at_work):
    """Celery ends it when it was to start, and says so: the next is called then. One that is in no line leaves none."""
    task = job(hall)
    _, part = at_work(task)
    for request in (waits(task, ident="revoked"), come(task, ident="revoked")):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("celery.worker.request.revoked_tasks", {"revoked"})
            assert request.revoked()
        assert hall.lines.left == [Waiting(KEY, f"{DATE}ann")]
    assert part


# What is warned of


@pytest.mark.parametrize(
    ("broker", "countdown", "is_warned"),
    [
        (("redis", {"visibility_timeout": 50}), 60, True),
        (("redis", {"visibility_timeout": 3600}), 60, False),
        (("redis", {}), 60, False),
        (("redis", {}), 3700, True),
        (("sentinel", {}), 3700, True),
        (("sqs", {}), 1900, True),
        (("amqp", {}), 3700, False),
    ],
)
def test_a_countdown_that_outlasts_the_brokers_patience_is_warned_of(at_work, caplog, broker, countdown, is_warned):
    """Once a task: such a job would come more than once."""
    task = job(Hall())
    consumer, part = at_work(task, broker[0], broker_transport_options=broker[1])
    for _ in range(2):
        consumer.receive(part, waits(task, seconds=countdown))
    assert caplog.text.count("visibility_timeout") == is_warned


def test_a_wait_at_the_door_that_outlasts_the_brokers_patience_is_warned_of_too(hall, at_work, caplog):
    """It is held as long."""
    task = job(hall)
    consumer, part = at_work(task, broker_transport_options={"visibility_timeout": 10})
    consumer.receive(part, come(task))
    assert caplog.text.count("visibility_timeout") == 1


def test_a_job_that_is_called_is_told_of(hall, at_work):
    """To those who listen, from a thread, after it was called: key, job, and how often it had gone back."""
    task = job(hall)
    consumer, part = at_work(task)
    told = []
    signals.woken.connect(told.append)
    try:
        consumer.receive(part, waits(task))
        hall.waker._roll.find(f"{DATE}ann").call(f"{DATE}ann")
        wait_until(lambda: told, "the wake to be told of")
    finally:
        signals.woken.disconnect(told.append)
    [event] = told
    assert (event.key, event.task, event.attempts) == (KEY, task.name, 1)
    assert event.owner == f"{task.name}[{event.task_id}]"
    assert 0 <= event.waited < 60
