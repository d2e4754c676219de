"""A locked task called directly, run eagerly, and run as a worker runs it."""

# ruff: noqa: ARG001 - the body of a task takes what it is locked on

from __future__ import annotations

import threading

import pytest
from celery.exceptions import Reject, Retry, TaskRevokedError

from celery_locks import (
    Contention,
    Fail,
    LockConfigError,
    LockedTask,
    LockError,
    LockLost,
    LockTimeout,
    Requeue,
    Skip,
    StoreUnavailable,
    current_lease,
    events,
    execution,
    signals,
)
from celery_locks.interrupt import kill
from tests.unit import bank
from tests.unit.fakes import Room, heard, in_child


def job(room: Room, function=None, **options):
    """A locked task on the key of its user; by default it shows who holds it."""

    def show(user_id):
        return room.holder(f"wallet:{user_id}")

    return bank.task(function or show, room=room, **{"lock_key": "wallet:{user_id}", **options})


# A direct call


def test_a_direct_call_takes_the_lock(room):
    """`withdraw(42)` holds the key while it runs, and gives the result."""
    assert job(room)(42).startswith("bank.withdraw@")
    assert room.holder() is None


def test_a_direct_call_of_a_taken_key_times_out(room):
    """There is no queue to go back to: `LockTimeout`, and the body does not run."""
    room.take(owner="somebody")
    ran = []

    def withdraw(user_id):
        ran.append(user_id)

    with pytest.raises(LockTimeout) as caught:
        job(room, withdraw)(42)
    assert str(caught.value) == "'wallet:42' is held by somebody; the job gives up"
    assert (caught.value.key, caught.value.holder) == ("wallet:42", "somebody")
    assert ran == []


@pytest.mark.parametrize("policy", ["requeue", "skip", "fail", Requeue(5), lambda _: Requeue(5)], ids=str)
def test_a_direct_call_times_out_whatever_the_policy(room, policy):
    """A caller is no queue, and waits for a result: what has none is an error."""
    room.take()
    with pytest.raises(LockTimeout):
        job(room, lock_on_contention=policy)(42)


def test_a_direct_call_may_get_the_skips_result(room):
    """`Skip(result="Processing")` is what it gives."""
    room.take()
    assert job(room, lock_on_contention=Skip(result="Processing"))(42) == "Processing"


def test_a_direct_call_waits(room):
    """`lock_wait` applies."""
    holder = room.take(ttl=1000.0)
    room.clock.later(3.0, lambda: room.free(holder))
    assert job(room, lock_wait=5)(42)


def test_a_direct_call_with_wrong_arguments_is_a_type_error(room):
    """As without a lock, and nothing is taken."""
    with pytest.raises(TypeError, match="user_id"):
        job(room)()
    assert room.store.calls == []


def test_what_the_body_raises_is_raised(room):
    """And the key is free."""

    def withdraw(user_id):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        job(room, withdraw)(42)
    assert room.holder() is None


def test_a_task_that_calls_itself_on_its_own_key_times_out(room):
    """The lock is not re-entrant: the inner call says so instead of waiting for ever."""

    def withdraw(self, user_id):
        if not room.clock.slept:
            room.clock.sleep(1.0)
            return self(user_id)
        return "inner"

    with pytest.raises(LockTimeout, match=r"is held by bank.withdraw@"):
        job(room, withdraw, bind=True)(42)
    assert room.holder() is None


@pytest.mark.parametrize("call", [lambda task: task(1), lambda task: task.apply((1,)).get()], ids=["direct", "eager"])
def test_a_task_that_calls_itself_on_another_key_has_two_leases(room, call):
    """The inner call has its own, and afterwards the outer one is back."""
    seen = []

    def withdraw(self, user_id):
        seen.append((self.lease.key, current_lease().key))
        if user_id == 1:
            self(2)
            seen.append((self.lease.key, current_lease().key))

    call(job(room, withdraw, bind=True))
    assert seen == [("wallet:1", "wallet:1"), ("wallet:2", "wallet:2"), ("wallet:1", "wallet:1")]


def test_an_inner_call_is_an_execution_of_its_own(room):
    """It has no task id of its own, and never the outer one's."""
    owners = []

    def withdraw(self, user_id):
        owners.append(self.lease.owner)
        if user_id == 1:
            self(2)

    job(room, withdraw, bind=True).apply((1,), task_id="outer").get()
    assert owners[0].startswith("bank.withdraw[outer]@")
    assert owners[1].startswith("bank.withdraw@")


# Eager


def test_an_eager_job_takes_the_lock(room):
    """`apply()` holds the key while it runs, under its task id."""
    result = job(room).apply((42,), task_id="7")
    assert result.get().startswith("bank.withdraw[7]@")
    assert room.holder() is None


def test_an_eager_job_cannot_go_back(room):
    """Its policy is to requeue, and there is no queue: it ends in `LockTimeout`."""
    room.take()
    result = job(room).apply((42,))
    assert result.state == "FAILURE"
    with pytest.raises(LockTimeout, match="'wallet:42' is held by somebody; the job gives up"):
        result.get()


def test_an_eager_job_that_is_skipped_is_revoked(room):
    """`get()` raises, and does not hang or give None."""
    room.take()
    result = job(room, lock_on_contention="skip").apply((42,))
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError, match="skipped: 'wallet:42' is held by somebody"):
        result.get()


def test_an_eager_job_says_why_it_was_skipped(room):
    """A policy's own reason is the revocation's."""
    room.take()
    result = job(room, lock_on_contention=Skip(reason="already running")).apply((42,))
    with pytest.raises(TaskRevokedError, match=r"^already running$"):
        result.get()


@pytest.mark.parametrize("value", ["Processing", None, 0])
def test_an_eager_job_that_is_skipped_with_a_result_ends_well(room, value):
    """None is a result too."""
    room.take()
    result = job(room, lock_on_contention=Skip(result=value)).apply((42,))
    assert (result.state, result.get()) == ("SUCCESS", value)


def test_an_eager_job_that_fails_says_why(room):
    """A policy's own reason is in the error."""
    room.take()
    result = job(room, lock_on_contention=Fail("too busy")).apply((42,))
    with pytest.raises(LockTimeout, match="the job gives up: too busy"):
        result.get()


def test_always_eager_apps_are_eager(room):
    """`delay()` under `task_always_eager` behaves as `apply()`."""
    room.take()
    task = job(room, lock_on_contention="skip", conf={"task_always_eager": True})
    assert task.delay(42).state == "REVOKED"
    room.store.memory.force_release("wallet:42")
    assert task.delay(42).state == "SUCCESS"


def test_an_eager_job_does_not_free_anothers_lock(room):
    """A job that was refused, and one that ended, leave the holder alone."""
    room.take(owner="queued")
    task = job(room)
    task.apply((42,))
    task.apply((43,))
    assert room.holder() == "queued"


def test_an_owner_is_one_execution(room):
    """Two executions of one task id are two owners: a redelivered copy waits like any other."""
    task = job(room)
    owners = {task.apply((42,), task_id="7").get() for _ in range(2)}
    assert len(owners) == 2


def test_two_executions_of_one_id_exclude_each_other(room):
    """The same id is not the same owner."""
    inner = []

    def withdraw(self, user_id):
        if not inner:
            inner.append(None)
            inner[0] = self.apply((user_id,), task_id=self.request.id).state

    job(room, withdraw, bind=True).apply((42,), task_id="7").get()
    assert inner == ["FAILURE"]


@pytest.mark.parametrize("how", ["retry", "autoretry"])
def test_a_retry_releases_and_takes_again(room, how):
    """It does not meet its own lock: the body runs as often as it should, each time under a lease of its own."""
    fences = []

    def withdraw(self, user_id):
        fences.append(self.lease.fence)
        if len(fences) < 3:
            raise self.retry() if how == "retry" else ValueError
        return "done"

    more = {"autoretry_for": (ValueError,), "retry_backoff": False} if how == "autoretry" else {}
    task = job(room, withdraw, bind=True, default_retry_delay=0, **more)
    assert task.apply((42,)).get() == "done"
    assert len(set(fences)) == 3
    assert room.holder() is None


def test_a_policy_is_asked_with_what_is_known(room):
    """A callable gets key, task, id, holder and remaining time."""
    room.take(owner="somebody", ttl=20.0)
    asked = []

    def policy(contention):
        asked.append(contention)
        return Skip(result="later")

    assert job(room, lock_on_contention=policy).apply((42,), task_id="7").get() == "later"
    assert asked == [Contention("wallet:42", "bank.withdraw", "7", "somebody", 20.0, None, requeues=0, waited=0.0)]


def test_a_policy_that_answers_nonsense_is_an_error(room):
    """The job fails with it, and does not run."""
    room.take()
    with pytest.raises(LockConfigError, match="lock_on_contention gave 'later'"):
        job(room, lock_on_contention=lambda _: "later").apply((42,)).get()


def test_a_skip_is_said(room):
    """With the holder and the reason."""
    room.take(owner="somebody")
    with heard(signals.skipped) as said:
        job(room, lock_on_contention="skip").apply((42,), task_id="7")
    [event] = said
    assert event == events.Skipped(
        "wallet:42",
        event.owner,
        "somebody",
        "skipped: 'wallet:42' is held by somebody",
        task="bank.withdraw",
        task_id="7",
    )


# Outages


@pytest.mark.parametrize("policy", ["requeue", "fail"])
def test_without_its_store_a_job_does_not_run(room, policy):
    """Called directly or eagerly it cannot go back: `StoreUnavailable`, with the key and the cause."""
    ran = []

    def withdraw(user_id):
        ran.append(user_id)

    task = job(room, withdraw, lock_on_outage=policy)
    room.store.fail("acquire", times=2)
    with pytest.raises(StoreUnavailable, match="'wallet:42' could not be locked: the server does not answer") as caught:
        task(42)
    assert caught.value.key == "wallet:42"
    with pytest.raises(StoreUnavailable):
        task.apply((42,)).get()
    assert ran == []


def test_a_job_may_be_told_to_run_without_its_store(room):
    """`lock_on_outage="run"`: it runs, its lease says that it is none."""

    def withdraw(self, user_id):
        return self.lease.held(), current_lease().fence

    room.store.fail("acquire")
    assert job(room, withdraw, bind=True, lock_on_outage="run")(42) == (False, 0)


def test_an_outage_inside_the_job_is_the_jobs_own(room):
    """Whatever `lock_on_outage` says, the job is not run twice, and its error is its own."""
    ran = []

    def withdraw(user_id):
        ran.append(user_id)
        raise StoreUnavailable("another store")

    with pytest.raises(StoreUnavailable, match=r"^another store$"):
        job(room, withdraw, lock_on_outage="run")(42)
    assert ran == [42]


# The lease


def test_outside_a_job_a_task_has_no_lease(room):
    """Before, after, and where the task only is."""
    task = job(room)
    task(42)
    with pytest.raises(LockError, match=r"task bank.withdraw holds no lease here"):
        _ = task.lease


def test_a_task_does_not_show_anothers_lease(room):
    """Inside a job of one task another task, which does not run, has no lease."""
    other = job(room)

    def withdraw(user_id):
        return user_id, other.lease

    with pytest.raises(LockError, match="holds no lease here"):
        bank.task(withdraw, room=room, name="bank.other")(42)


def test_the_lease_of_a_task_is_the_current_one(room):
    """`self.lease` and `current_lease()` are the same, and held."""

    def withdraw(self, user_id):
        return self.lease is current_lease(), self.lease.held(), self.lease.ttl

    assert job(room, withdraw, bind=True, lock_ttl=12)(42) == (True, True, 12.0)


def test_two_threads_on_one_task_see_their_own_leases(room):
    """No state is on the task object: overlapping jobs do not free each other's locks."""
    both = threading.Barrier(2)
    seen = {}

    def withdraw(self, user_id):
        both.wait(5.0)
        seen[user_id] = (self.lease.key, current_lease().key, self.request.args[0])
        both.wait(5.0)

    task = job(room, withdraw, bind=True)
    threads = [threading.Thread(target=task.apply, args=((user_id,),)) for user_id in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10.0)
    assert seen == {1: ("wallet:1", "wallet:1", 1), 2: ("wallet:2", "wallet:2", 2)}
    assert [room.holder("wallet:1"), room.holder("wallet:2")] == [None, None]


def test_a_job_changes_nothing_on_its_task(room):
    """Neither a run nor a refusal leaves anything on the task object or its class."""
    task = job(room)
    task(1)  # Celery itself keeps a default request from then on
    before = (dict(vars(task._get_current_object())), dict(vars(type(task._get_current_object()))))
    task(42)
    room.take()
    task.apply((42,))
    assert (dict(vars(task._get_current_object())), dict(vars(type(task._get_current_object())))) == before


def test_a_job_sees_its_own_request(room):
    """The lock does not stand between a job and its request."""

    def withdraw(self, user_id):
        return self.request.id, self.request.args, self.request.retries, self.request.is_eager

    assert job(room, withdraw, bind=True).apply((42,), task_id="7").get() == ("7", (42,), 0, True)


def test_what_a_body_sets_on_its_request_counts(room):
    """To stop its chain or its links, for its handlers, or for itself: it is the request and no copy of it."""
    seen = []

    class Handled(LockedTask):
        abstract = True

        def on_success(self, *_):
            seen.append((self.request.mark, self.request.callbacks, self.request.chain))

    def withdraw(self, user_id):
        self.request.mark = 5
        self.request.callbacks = self.request.chain = None

    task = job(room, withdraw, bind=True, base=Handled)
    task.apply((42,), link=task.si(43), chain=[task.si(44)])
    assert seen == [(5, None, None)]


def test_a_lease_is_on_the_request_only_while_the_body_runs(room):
    """The handlers of a job that is over have the properties that were sent."""
    seen = []

    class Handled(LockedTask):
        abstract = True

        def after_return(self, *_):
            seen.append(self.request.properties)

    def withdraw(user_id): ...

    job(room, withdraw, base=Handled).apply((42,))
    assert [execution.LEASE in (each or {}) for each in seen] == [False]


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(None, id="none"),
        pytest.param({"tenant": 3}, id="some"),
    ],
)
def test_a_job_sees_the_headers_it_was_sent_with(room, sent):
    """A lease is no header: what the job publishes or retries must not carry it."""

    def withdraw(self, user_id):
        return self.request.headers

    headers = job(room, withdraw, bind=True).apply((42,), headers=sent).get()
    assert (headers or {}) == (sent or {})


def test_a_job_is_kept_while_it_runs(room):
    """At a third of its ttl; with `lock_heartbeat=False` not at all."""

    def withdraw(user_id):
        return [each.interval for each in room.keeper._watched.values()]

    assert job(room, withdraw, lock_ttl=12)(42) == [4.0]
    assert job(room, withdraw, lock_heartbeat=False)(42) == []


def test_a_job_leaves_nothing_in_the_keeper(room):
    """However it ends."""

    def withdraw(user_id):
        if user_id:
            raise ZeroDivisionError

    task = job(room, withdraw)
    task(0)
    with pytest.raises(ZeroDivisionError):
        task(42)
    assert room.watched() == []


# Losses


def lose_it(room: Room, went_on: list[int], lingering: float = 10.0):
    """A body whose key is taken away, whose keeper notices from its thread, and which has time to be ended for it."""

    def withdraw(user_id):
        room.steal(f"wallet:{user_id}")
        room.clock.advance(10.0)
        keeper = threading.Thread(target=room.keeper.tick)
        keeper.start()
        keeper.join()
        threading.Event().wait(lingering)
        went_on.append(user_id)
        return current_lease().held()

    return withdraw


def test_a_lost_lease_stops_the_job(room):
    """By default `LockLost` is raised in its body, which does not go on."""
    went_on = []
    with pytest.raises(LockLost, match="'wallet:42' is gone: the store says"):
        job(room, lose_it(room, went_on))(42)
    assert (room.holder(), went_on) == ("thief", [])


def test_a_job_that_does_not_notice_ends_with_the_loss(room):
    """Not watched and done: still `LockLost`, for the work may not have been alone."""

    def withdraw(user_id):
        room.clock.advance(31.0)

    with pytest.raises(LockLost):
        job(room, withdraw, lock_heartbeat=False)(42)


def test_a_flagged_job_goes_on(room):
    """`lock_on_lost="flag"`: the lease says so, the job decides, its result counts."""
    went_on = []
    assert job(room, lose_it(room, went_on, lingering=0.0), lock_on_lost="flag")(42) is False
    assert went_on == [42]


def test_a_job_to_be_killed_is_stopped_where_there_is_no_pool_process(room):
    """`lock_on_lost="kill"` never ends a process that is not a pool's."""
    went_on = []
    with pytest.raises(LockLost):
        job(room, lose_it(room, went_on), lock_on_lost="kill")(42)
    assert went_on == []


def test_a_job_to_be_killed_takes_its_pool_process_along(room, monkeypatch):
    """In a pool's process nobody else holds the key before it is gone."""
    monkeypatch.setattr(execution, "in_pool_process", lambda: True)
    assert in_child(lambda: job(room, lose_it(room, []), lock_on_lost="kill")(42)) == -9


def test_only_kill_kills(room, monkeypatch):
    """The other policies do not end a pool's process."""
    monkeypatch.setattr(execution, "in_pool_process", lambda: True)
    plan = job(room)._get_current_object()._plan
    assert execution.Execution(job(room)._get_current_object(), plan, (42,), {})._on_lost() is not kill


# As a worker runs it


@pytest.fixture
def queued(room, monkeypatch):
    """Run a job as a worker does, its request on top, and see what is published instead of run."""

    def run(task, *args, publish=None, **request):
        published = []
        made = task._get_current_object()

        def apply_async(args=None, kwargs=None, **options):
            published.append({"args": args, "kwargs": kwargs, "top": made.request.called_directly, **options})
            if publish:
                raise publish

        monkeypatch.setattr(made, "apply_async", apply_async)
        made.push_request(
            **{"id": "7", "args": list(args), "kwargs": {}, "called_directly": False, "headers": {}, **request}
        )
        try:
            return made(*args)
        except BaseException as error:  # noqa: BLE001 - how it ended is what is looked at
            return error, published
        finally:
            made.pop_request()

    return run


def test_a_queued_job_goes_back(room, queued):
    """Contended, it is published again with its id, and this try ends in `Retry` with key and holder."""
    room.take(owner="somebody")
    ended, [sent] = queued(job(room), 42)
    assert isinstance(ended, Retry)
    assert isinstance(ended.exc, LockTimeout)
    assert (ended.exc.key, ended.exc.holder) == ("wallet:42", "somebody")
    assert (sent["task_id"], list(sent["args"])) == ("7", [42])


def test_going_back_spends_no_retry(room, queued):
    """`retries` is what it was, however often the job went back."""
    room.take()
    _, [sent] = queued(job(room, max_retries=0), 42, retries=2)
    assert sent["retries"] == 2


def test_going_back_takes_the_countdown(room, queued):
    """A number is taken; a policy's own delay is stronger; "auto" is between 1 and 30 s."""
    room.take()
    assert queued(job(room, lock_countdown=45), 42)[1][0]["countdown"] == 45.0
    assert queued(job(room, lock_countdown=45, lock_on_contention=Requeue(3)), 42)[1][0]["countdown"] == 3
    assert 1.0 <= queued(job(room), 42)[1][0]["countdown"] <= 30.0


def test_going_back_is_counted_in_the_headers(room, queued):
    """The user's own headers stay; how often and since when is added."""
    room.take()
    _, [first] = queued(job(room), 42, headers={"tenant": 3})
    assert (first["headers"]["tenant"], first["headers"]["lock_requeues"]) == (3, 1)
    _, [second] = queued(job(room), 42, headers=first["headers"])
    assert second["headers"]["lock_requeues"] == 2
    assert second["headers"]["lock_since"] == first["headers"]["lock_since"]


def test_a_job_that_went_back_too_often_gives_up(room, queued):
    """`lock_max_requeues` counts the headers, and the error says so."""
    room.take()
    ended, sent = queued(job(room, lock_max_requeues=3), 42, headers={"lock_requeues": 3})
    assert isinstance(ended, LockTimeout)
    assert str(ended).endswith("the job gives up: it went back to its queue 3 times (lock_max_requeues=3)")
    assert sent == []


def test_a_job_that_waited_too_long_gives_up(room, queued):
    """`lock_max_wait` counts from the first contention."""
    room.take()
    ended, sent = queued(job(room, lock_max_wait=60), 42, headers={"lock_requeues": 1, "lock_since": 0.0})
    assert isinstance(ended, LockTimeout)
    assert "(lock_max_wait=60)" in str(ended)
    assert sent == []


def test_what_goes_back_is_not_its_own_parent(room, queued):
    """It is published as by somebody outside a job."""
    room.take()
    _, [sent] = queued(job(room), 42)
    assert sent["top"] is True


def test_a_requeue_is_said_after_it_was_published(room, queued):
    """With the delay and the number of tries so far."""
    room.take(owner="somebody")
    with heard(signals.requeued) as said:
        queued(job(room, lock_countdown=5), 42, headers={"lock_requeues": 1})
        queued(job(room), 42, publish=OSError("broker is gone"))
    [event] = said
    assert (event.key, event.holder, event.delay, event.attempts) == ("wallet:42", "somebody", 5.0, 2)
    assert (event.task, event.task_id) == ("bank.withdraw", "7")


def test_a_broker_that_refuses_fails_the_job(room, queued):
    """An acknowledged job that could not be published again ends failed, with the reason: never silently."""
    room.take()
    ended, _ = queued(job(room), 42, publish=OSError("broker is gone"))
    assert isinstance(ended, LockTimeout)
    assert "could not be put back on its queue (OSError('broker is gone')) and does not run" in str(ended)


def test_a_broker_that_refuses_gets_a_late_acknowledged_job_back(room, queued):
    """It is rejected back to its queue."""
    room.take()
    ended, _ = queued(job(room, acks_late=True), 42, publish=OSError("broker is gone"))
    assert isinstance(ended, Reject)
    assert ended.requeue is True


def test_a_queued_job_without_its_store_goes_back(room, queued):
    """Not counted as a contention, and not run."""
    room.store.fail("acquire")
    ended, [sent] = queued(job(room), 42)
    assert isinstance(ended, Retry)
    assert isinstance(ended.exc, StoreUnavailable)
    assert "lock_requeues" not in sent["headers"]
    assert 5.0 <= sent["countdown"] <= 15.0


def test_a_queued_job_without_its_store_may_fail(room, queued):
    """`lock_on_outage="fail"`."""
    room.store.fail("acquire")
    ended, sent = queued(job(room, lock_on_outage="fail"), 42)
    assert isinstance(ended, StoreUnavailable)
    assert sent == []


def test_a_queued_job_that_is_skipped_is_revoked(room, queued):
    """Its result is stored as revoked, with the reason, before the job is ignored."""
    room.take()
    task = job(room, lock_on_contention="skip")
    ended, sent = queued(task, 42)
    assert isinstance(ended, execution.Skipped)
    assert sent == []
    result = task.AsyncResult("7")
    assert result.state == "REVOKED"
    assert str(result.result) == "skipped: 'wallet:42' is held by somebody"


def test_a_queued_job_runs_under_its_id(room, queued):
    """Uncontended it just runs."""
    assert queued(job(room), 42).startswith("bank.withdraw[7]@")
