"""Which jobs a worker keeps at its door, and how the worker's part keeps those in line that wait."""

# ruff: noqa: ARG001 - the body of a task takes what it is locked on

from __future__ import annotations

import contextlib
import itertools
import pickle
import threading
from types import SimpleNamespace

import pytest
from billiard.einfo import ExceptionInfo
from celery.app.task import Context
from celery.exceptions import Retry
from kombu import Queue
from kombu.message import Message
from kombu.serialization import dumps

from celery_locks import Fail, LockTimeout, Requeue, Skip, events, requeue, signals
from celery_locks.guard import Guard
from celery_locks.keeper import Keeper
from celery_locks.lease import Busy
from celery_locks.policies import LATEST
from celery_locks.stores.base import Look, Waiting
from celery_locks.worker import Line, LockedRequest, door, line
from tests.unit import bank
from tests.unit.fake_lines import FakeLines
from tests.unit.fakes import FakeClock, FaultyStore, Room, heard, without_thread

KEY = "wallet:42"
DATE = "1700000000000000-"
_numbers = itertools.count(1)


class LinedStore(FakeLines, FaultyStore):
    """A store that keeps lines and says what it is told to say."""

    def __init__(self, clock: FakeClock) -> None:
        FakeLines.__init__(self)
        FaultyStore.__init__(self, clock)


class Hall(Room):
    """A room whose store keeps lines, and whose waker does nothing by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = self.store = LinedStore(self.clock)
        self.keeper = without_thread(Keeper(self.store, self.clock))
        self.guard = Guard(self.store, clock=self.clock, sleep=self.clock.sleep, keeper=self.keeper)
        self.waker = self.guard.waker
        assert self.waker
        self.waker._rounds.thread = self.waker._hearing.thread = threading.current_thread()
        self.waker.note(KEY)

    def attend(self) -> None:
        """The waker's thread does what is due."""
        self.clock.advance(0.01)
        self.waker._attend()


@pytest.fixture
def hall() -> Hall:
    return Hall()


def withdraw(user_id, amount=1):
    """What the jobs of these tests do."""


def job(hall, function=withdraw, **options):
    return bank.task(function, room=hall, **{"lock_key": "wallet:{user_id}", **options})


def come(task, *args, store: dict | None = None, ident: str | None = None, **options) -> LockedRequest:
    """A message of the task as a worker has just received it."""
    ident = ident or f"job-{next(_numbers)}"
    sent = task.app.amqp.as_task_v2(ident, task.name, args=args or (42,), **options)
    content_type, encoding, body = dumps(sent.body, serializer="json")
    message = Message(
        body=body,
        content_type=content_type,
        content_encoding=encoding,
        headers={**sent.headers, **(store or {})},
        properties=sent.properties,
        delivery_info={"exchange": "", "routing_key": "celery"},
    )
    return LockedRequest(
        message, app=task.app, task=task, body=message.body, headers=message.headers, decoded=False, utc=True
    )


def shut(task, *args, **options):
    """Whether a job of this task is kept, and the request."""
    request = come(task, *args, **options)
    kept = door.Door(task.app).shut(request)
    assert bool(kept) is bool(request.eta) or options
    return kept, request


# Who is kept


def test_a_job_whose_key_is_known_to_be_taken_is_kept(hall):
    """It has a ticket without a date, and Celery holds it as one with a countdown."""
    task = job(hall)
    kept, request = shut(task)
    assert kept
    assert kept[0].key == KEY
    assert not kept[0].comes
    seconds = (request.eta - task.app.now()).total_seconds()
    assert 0.8 * LATEST - 1 < seconds <= LATEST
    assert requeue.place(request.request_dict) == kept[0][:2]
    assert requeue.is_patient(request.request_dict)
    sent = Context(request.request_dict)
    assert requeue.requeues(sent) == 0
    assert 0 <= requeue.waited(sent) < 5


def test_a_job_whose_key_is_not_known_to_be_taken_goes_in(hall):
    """The noted key is another, and what was noted is known for a moment only."""
    task = job(hall)
    assert shut(task, 43)[0] is None
    hall.clock.advance(1.0)
    assert shut(task)[0] is None


def test_one_that_waits_here_keeps_the_next_at_the_door(hall):
    """Also when nobody has found its key taken for a while."""
    hall.waker.wait(Waiting("wallet:43", "1-a"), lambda _: None)
    task = job(hall)
    assert shut(task, 43)[0]
    assert shut(task, 44)[0] is None


def test_a_message_that_is_delivered_again_comes_back_to_its_place(hall):
    """Its worker died: the ticket it had is the one it has. A retry of the job, or another job, has one of its own."""
    task = job(hall)
    tickets = [
        shut(task, ident=ident, retries=retries, store=headers)[0][0].ticket
        for ident, retries, headers in (("a", 0, {}), ("a", 0, {}), ("a", 1, {}), ("a", 0, {requeue.REQUEUES: 1}))
    ]
    assert tickets[0] == tickets[1]
    assert len({*tickets, shut(task)[0][0].ticket}) == 4


def test_nobody_makes_a_key_while_all_is_calm(hall, monkeypatch):
    """A worker that has met no taken key does nothing for a message but look."""
    hall.waker._wanted.clear()
    monkeypatch.setattr(LockedRequest, "key", lambda _: pytest.fail("a key was made"))
    assert shut(job(hall))[0] is None


def test_one_that_may_wait_in_a_slot_says_so(hall):
    """It is called as the next."""
    assert [shut(job(hall, lock_wait=wait))[0][0].comes for wait in (5, 0)] == [True, False]


@pytest.mark.parametrize(
    "options",
    [
        {"lock_fair": False},
        {"lock_on_contention": "skip"},
        {"lock_on_contention": "fail"},
        {"lock_on_contention": Skip(result="Processing")},
        {"lock_on_contention": Fail()},
        {"lock_on_contention": lambda _: Requeue()},
        {"lock_key": lambda user_id, **_: f"wallet:{user_id}"},
    ],
    ids=["unfair", "skip", "fail", "a Skip", "a Fail", "a callable policy", "a callable key"],
)
def test_a_job_that_is_not_to_wait_goes_in(hall, options):
    """Its slot has the last word: what it does there is its own."""
    assert shut(job(hall, **options))[0] is None


def test_a_job_whose_arguments_make_no_key_goes_in(hall):
    """It fails there, as it does when all is calm."""
    task = job(hall)
    for request in (come(task, 1, 2, 3), come(task, kwargs={"user": 42})):
        assert door.Door(task.app).shut(request) is None
        assert request.eta is None


def test_a_job_of_a_refused_declaration_goes_in(hall, monkeypatch):
    """It says there what is wrong."""
    task = job(hall)
    monkeypatch.setattr(task.__class__, "_plan", None)
    assert shut(task)[0] is None


def test_a_job_whose_store_cannot_be_opened_goes_in(hall, monkeypatch, caplog):
    """It says there what is wrong."""
    task = job(hall)
    monkeypatch.setattr("celery_locks.plan.Locks.from_app", _no_store)
    assert shut(task)[0] is None
    assert "no such store" in caplog.text


def _no_store(*_):
    raise LockTimeout("no such store")


def test_where_the_store_keeps_no_line_all_go_in():
    """There is no waker."""
    room = Room()
    assert room.guard.waker is None
    assert shut(job(room))[0] is None


@pytest.mark.parametrize(
    ("conf", "is_kept"),
    [
        ({}, True),
        ({"worker_eta_task_limit": 10}, False),
        ({"task_queues": [Queue("a"), Queue("b", queue_arguments={"x-queue-type": "quorum"})]}, False),
        ({"task_queues": [Queue("a"), Queue("b", queue_arguments={"x-max-priority": 9})]}, True),
    ],
    ids=["by default", "a limit", "a quorum queue", "a classic queue"],
)
def test_where_a_worker_may_not_hold_any_number_all_go_in(hall, conf, is_kept):
    """Those kept would be in the way of jobs for other keys."""
    assert bool(shut(job(hall, conf=conf))[0]) is is_kept


# How long


def seconds_kept(task, **options) -> tuple[float, bool]:
    """How long it waits at most, as its message says, and whether the worker may lengthen that."""
    kept, request = shut(task, **options)
    assert kept
    return (request.eta - task.app.now()).total_seconds(), requeue.is_patient(request.request_dict)


def test_a_numeric_countdown_is_kept(hall):
    """It is a ceiling, here as after a re-queue."""
    seconds, patient = seconds_kept(job(hall, lock_countdown=7))
    assert 5 < seconds <= 7
    assert not patient


def test_the_delay_of_a_requeue_is_kept(hall):
    """A policy that is no callable is known before there is a slot."""
    assert 1 < seconds_kept(job(hall, lock_on_contention=Requeue(3)))[0] <= 3
    assert seconds_kept(job(hall, lock_on_contention=Requeue()))[0] > 20


def test_the_longest_wait_ends_a_countdown(hall):
    """Nobody waits past it, and nobody lengthens it."""
    seconds, patient = seconds_kept(job(hall, lock_max_wait=4))
    assert 2 < seconds <= 4
    assert not patient


def test_the_longest_wait_counts_from_the_first_contention(hall):
    """A job that was re-queued before, and came without its countdown, brings along since when it waits."""
    task = job(hall, lock_max_wait=60)
    before = 1_700_000_000.0
    seconds, _ = seconds_kept(task, store={requeue.SINCE: before})
    assert seconds <= 0
    request = come(task, store={requeue.SINCE: before, requeue.REQUEUES: 3})
    assert door.Door(task.app).shut(request)
    assert request.request_dict[requeue.SINCE] == before
    assert requeue.requeues(Context(request.request_dict)) == 3


# What is shown


BUSY = Busy("somebody", 12.0, 3, f"{DATE}ann", present=True)


def test_a_job_at_the_door_shows_as_retry_with_key_holder_and_place(hall):
    """As one does that was re-queued."""
    task = job(hall)
    kept, request = shut(task)
    kept[1](BUSY)
    result = task.AsyncResult(request.id)
    assert result.state == "RETRY"
    assert isinstance(result.result, LockTimeout)
    assert (result.result.key, result.result.holder) == (KEY, "somebody")
    assert str(result.result) == "'wallet:42' is held by somebody, place 3 in line"


def test_a_job_at_the_door_is_told_to_who_listens(hall):
    """The signal names the job, which had no slot yet."""
    task = job(hall)
    with heard(signals.contended) as said:
        kept, request = shut(task)
        assert said == []
        kept[1](BUSY)
    (event,) = said
    assert isinstance(event, events.Contended)
    assert (event.key, event.holder, event.task, event.task_id) == (KEY, "somebody", task.name, request.id)


def test_nothing_is_stored_of_a_job_whose_result_is_not(hall):
    """As it was sent."""
    task = job(hall)
    kept, request = shut(task, ignore_result=True)
    kept[1](BUSY)
    assert task.AsyncResult(request.id).state == "PENDING"


def test_a_result_backend_that_fails_harms_no_job(hall, monkeypatch, caplog):
    """What cannot be shown is said in the log."""
    task = job(hall)
    kept, _ = shut(task)
    monkeypatch.setattr(type(task.backend), "mark_as_retry", _no_store)
    kept[1](BUSY)
    assert "could not be stored" in caplog.text


# The worker's part


class Consumer:
    """What the worker's part needs of one."""

    def __init__(self, task, transport="redis", **conf):
        self.app = task.app
        self.app.conf.update(conf)
        self.entries: list = []
        self.later: list = []
        self.timer = SimpleNamespace(call_at=self._call_at, call_after=lambda _, fun: self.later.append(fun))
        self.hub = None
        self.connection = SimpleNamespace(transport_cls=transport)
        self.started: list = []

    def _call_at(self, eta, fun, args=(), **_):
        entry = SimpleNamespace(eta=eta, fun=fun, args=args)
        self.entries.append(entry)
        return entry

    def turn(self) -> None:
        while self.later:
            self.later.pop(0)()

    def receive(self, part: Line, request) -> None:
        """What Celery does with a message."""
        part._received(request)
        if request.eta:
            request._eta_timer_entry = self.timer.call_at(100.0, self.started.append, (request,), priority=6)
        else:
            self.started.append(request)


@pytest.fixture
def at_work(hall):
    """Starts the worker's part for a task."""
    with contextlib.ExitStack() as stack:

        def start(task, transport="redis", **conf) -> tuple[Consumer, Line]:
            consumer = Consumer(task, transport, **conf)
            part = Line(consumer)
            part.start(consumer)
            stack.callback(part.stop, consumer)
            return consumer, part

        yield start


def waits(task, ticket=f"{DATE}ann", *, patient=False, seconds=60, **options) -> LockedRequest:
    """A job that was re-queued, and is in line."""
    headers = {requeue.KEY: KEY, requeue.TICKET: ticket, requeue.PATIENT: patient, requeue.REQUEUES: 1}
    return come(task, store=headers, countdown=seconds, **options)


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


def over(consumer) -> None:
    entry = consumer.entries[-1]
    entry.fun(*entry.args)


@pytest.fixture
def hearing(hall, monkeypatch):
    monkeypatch.setattr(hall.waker._hearing, "hears", True)


@pytest.fixture
def moves(monkeypatch):
    """Moves the clock of the worker's part."""
    now = FakeClock()
    monkeypatch.setattr(line.time, "monotonic", now)
    return now.advance


@pytest.mark.usefixtures("hearing")
def test_a_patient_job_waits_longer_where_wakes_are_heard(hall, at_work):
    """It tells the store again that it is there, and waits half a minute more."""
    task = job(hall)
    consumer, part = at_work(task)
    request = waits(task, patient=True)
    consumer.receive(part, request)
    hall.attend()
    over(consumer)
    assert consumer.started == []
    assert [entry.eta for entry in consumer.entries] == [100.0, 100.0 + line.LOOK_AFTER]
    assert request._eta_timer_entry is consumer.entries[-1]
    hall.lines.attended.clear()
    hall.attend()
    assert hall.lines.attended == [[Waiting(KEY, f"{DATE}ann")]]


@pytest.mark.usefixtures("hearing")
def test_one_that_nobody_will_call_does_not_wait_longer(hall, at_work):
    """Its message came twice, and its ticket brought the other copy to a slot."""
    task = job(hall)
    consumer, part = at_work(task)
    for _ in range(2):
        consumer.receive(part, waits(task, patient=True))
    hall.waker._roll.remove(f"{DATE}ann").call(f"{DATE}ann")
    consumer.turn()
    assert len(consumer.started) == 1
    entry = consumer.entries[0]
    entry.fun(*entry.args)
    assert len(consumer.started) == 2


@pytest.mark.usefixtures("hearing")
def test_a_job_with_a_countdown_in_seconds_does_not_wait_longer(hall, at_work):
    """The number is a ceiling."""
    task = job(hall)
    consumer, part = at_work(task)
    consumer.receive(part, waits(task))
    over(consumer)
    assert len(consumer.started) == 1


def test_nobody_waits_longer_where_no_wake_is_heard(hall, at_work):
    """It would not be called."""
    task = job(hall)
    consumer, part = at_work(task)
    consumer.receive(part, waits(task, patient=True))
    over(consumer)
    assert len(consumer.started) == 1


@pytest.mark.usefixtures("hearing")
@pytest.mark.parametrize(
    ("broker", "longest"),
    [
        (("amqp", {}), line.LONGEST),
        (("redis", {}), line.LONGEST),
        (("redis", {"visibility_timeout": 200}), 100.0),
        (("sqs", {"visibility_timeout": 40}), 20.0),
    ],
)
def test_nobody_is_held_for_ever(hall, at_work, moves, broker, longest):
    """Up to ten minutes, or half the time after which the broker delivers it again."""
    task = job(hall)
    consumer, part = at_work(task, broker[0], broker_transport_options=broker[1])
    consumer.receive(part, waits(task, patient=True))
    held = 0
    while not consumer.started:
        moves(line.LOOK_AFTER)
        held += 1
        assert held <= 100
        over(consumer)
    assert held * line.LOOK_AFTER == pytest.approx(max(longest, line.LOOK_AFTER), abs=line.LOOK_AFTER)
    assert held * line.LOOK_AFTER <= max(longest, line.LOOK_AFTER)


@pytest.mark.usefixtures("hearing")
def test_an_expired_job_does_not_wait_longer(hall, at_work):
    """It goes where Celery ends it."""
    task = job(hall)
    consumer, part = at_work(task)
    consumer.receive(part, waits(task, patient=True, expires=-1.0))
    over(consumer)
    assert len(consumer.started) == 1


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


@pytest.mark.parametrize("is_own_process", [True, False])
def test_a_slot_that_found_its_key_taken_shuts_the_door(hall, is_own_process):
    """What comes next for that key waits there, in whichever pool the slot is."""
    hall.waker._wanted.clear()
    request = come(job(hall))
    for other in (None, ValueError("no"), LockTimeout("no key")):
        request.on_retry(_raised(other, is_own_process))
    assert hall.waker.is_calm()
    request.on_retry(_raised(LockTimeout("taken", "wallet:43", "somebody"), is_own_process))
    assert hall.waker.is_wanted("wallet:43")


def _raised(reason, is_own_process):
    """What the worker is told of a retry. A process pickles it, which takes it out of its wrapping."""
    try:
        _raise(Retry(exc=reason, when=1.0))
    except Retry:
        info = ExceptionInfo()
    return info if is_own_process else pickle.loads(pickle.dumps(info))  # noqa: S301 - our own


def _raise(error):
    raise error


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
