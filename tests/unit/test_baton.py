"""The key of a workflow goes from member to member: what each finds, and what it leaves behind."""

from __future__ import annotations

import threading
from types import SimpleNamespace

import pytest
from celery import chain, chord, group, signals
from celery.exceptions import Ignore, Reject

from celery_locks import LockConfigError, LockedTask, LockLost, LockTimeout, StoreUnavailable, baton, current_lease
from celery_locks.canvas import handing, together
from celery_locks.signals import acquired, released
from celery_locks.worker import MemberRequest
from celery_locks.worker.unplaced import unplaced
from tests.unit import bank
from tests.unit.relay import KEY, Relay
from tests.waiting import wait_until

#: Members that run in a moment, or in which something happens.
A, B, C = "abc"


def sent(relay: Relay, *names: str, **options: object) -> None:
    """Send a chain of such members."""
    baton(chain(*(relay.job(name) for name in names)), KEY, **options).delay()


def test_nothing_is_held_until_the_first_runs(relay: Relay):
    """To send a workflow asks nothing of the store."""
    sent(relay, A, B)
    assert relay.holder() is None
    assert relay.room.store.calls == []


def test_it_goes_from_member_to_member(relay: Relay):
    """While a message is on its way the key is held for it, under the same fence; behind the last it is free."""
    sent(relay, A, B, C, ttl=30, travel=100)
    for _ in range(2):
        relay.run()
        assert relay.is_on_its_way()
        assert relay.left() == 100
    relay.run()
    assert relay.names == [A, B, C]
    assert len(set(relay.fences)) == 1
    assert relay.holder() is None


def test_a_member_has_an_owner_of_its_own(relay: Relay):
    """Whoever looks sees which task of which workflow has the key."""
    sent(relay, A, B)
    relay.run_all()
    owners = [owner for _, _, owner in relay.seen]
    assert len(set(owners)) == 2
    assert all(owner.startswith("step[") for owner in owners)


def test_a_busy_key_puts_the_first_back(relay: Relay):
    """It goes back to its queue as any locked job, and its body does not run."""
    other = relay.room.locks.lock(KEY)
    assert other.acquire(blocking=False)
    sent(relay, A, B, countdown=3)
    relay.run()
    assert relay.names == []
    other.release()
    relay.run_all()
    assert relay.names == [A, B]


def test_on_contention_skip_ends_it(relay: Relay):
    """With another policy it does as that says: nothing comes after it."""
    with relay.room.locks.lock(KEY):
        sent(relay, A, B, on_contention="skip")
        relay.run()
    assert relay.is_empty()
    assert relay.names == []


def test_a_copy_waits_while_the_workflow_goes_on(relay: Relay):
    """The first is delivered again while the second is on its way, or runs: it finds the key taken."""
    sent(relay, A, B)
    first = relay.message()
    relay.run(first)
    second = relay.message()
    relay.run(first)
    relay.bodies[B] = lambda _: relay.run(first)
    relay.run(second)
    assert relay.names == [A, B]
    # Both copies went back.
    relay.bodies.clear()
    assert not relay.is_empty()


def test_a_copy_of_a_running_member_waits(relay: Relay):
    """A message that comes twice at once is run by one."""
    sent(relay, A, B)
    first = relay.message()
    relay.bodies[A] = lambda _: relay.run(first) and None
    relay.run(first)
    assert relay.names == [A]


def test_a_copy_that_comes_after_the_end_takes_the_key_anew(relay: Relay):
    """It is another go of the same workflow: all of it under one lease, with a higher fence."""
    sent(relay, A, B)
    first = relay.message()
    relay.run(first)
    relay.run()
    relay.run(first)
    assert relay.is_on_its_way()
    relay.run()
    assert relay.names == [A, B, A, B]
    one, same, other, also = relay.fences
    assert one == same < other == also
    assert relay.holder() is None


def test_a_message_that_waits_for_too_long_takes_the_key_anew(relay: Relay):
    """Others may have it in between. Then it waits for them, and never runs without it."""
    sent(relay, A, B, ttl=30)
    relay.run()
    relay.room.clock.advance(31)
    rival = relay.room.locks.lock(KEY)
    assert rival.acquire(blocking=False)
    relay.run()
    assert relay.names == [A]
    rival.release()
    relay.run()
    assert relay.names == [A, B]
    assert relay.fences[0] < relay.fences[1]


@pytest.mark.parametrize("error", [ValueError("no"), Ignore(), Reject("no", requeue=False), Reject("no", requeue=True)])
def test_a_workflow_that_stops_frees_its_key(relay: Relay, error: Exception):
    """A member that fails, is ignored or rejected, with nobody to come after it."""

    def fail(_):
        raise error

    relay.bodies[B] = fail
    sent(relay, A, B, C)
    relay.run()
    relay.run()
    assert relay.holder() is None
    assert relay.is_empty()


def test_a_rejected_message_that_comes_again_keeps_it(relay: Relay):
    """It is acknowledged late, and asks to come again: the key waits for it."""

    def reject(task):
        if len(relay.seen) == 1:
            raise Reject("later", requeue=True)
        return task.name

    relay.step.acks_late = True
    relay.bodies[A] = reject
    sent(relay, A, B)
    first = relay.message()
    relay.run(first)
    assert relay.is_on_its_way()
    relay.run(first)
    relay.run()
    assert len(set(relay.fences)) == 1


def test_a_retry_keeps_it_for_its_countdown(relay: Relay):
    """It lasts until the next try is due and for as long as a message may be on its way."""

    def retry(task):
        if not task.request.retries:
            raise task.retry(countdown=1000)

    relay.bodies[A] = retry
    sent(relay, A, B, ttl=30, travel=50)
    relay.run()
    assert relay.is_on_its_way()
    assert 1040 < relay.left() <= 1050
    relay.run_all()
    assert relay.names == [A, A, B]
    assert len(set(relay.fences)) == 1
    assert relay.holder() is None


def test_a_retry_that_comes_at_once_asks_again(relay: Relay):
    """It may run before the try that sent it has handed on the key: it comes back soon, in no line."""

    def retry(task):
        if not task.request.retries:
            try:
                raise task.retry(countdown=0)
            finally:
                relay.run()

    relay.bodies[A] = retry
    sent(relay, A, B)
    relay.run()
    assert relay.names == [A]
    again = relay.message()
    assert not {"lock_ticket", "lock_requeues"} & {*again.headers}
    relay.run(again)
    relay.run()
    assert relay.names == [A, A, B]
    assert len(set(relay.fences)) == 1


def test_a_replacement_goes_on_with_it(relay: Relay):
    """What a member puts in its place runs under the same lease, and what came after it still does."""
    relay.bodies[A] = lambda task: task.replace(chain(relay.job("x"), relay.job("y")))
    sent(relay, A, B)
    relay.run_all()
    assert relay.names == [A, "x", "y", B]
    assert len(set(relay.fences)) == 1
    assert relay.holder() is None


def test_a_replacement_that_cannot_be_sent_frees_it(relay: Relay):
    """The member fails, and nobody comes after it."""

    def replace(task):
        relay.app.send_task = lambda *_, **__: 1 / 0
        try:
            task.replace(relay.job("x"))
        finally:
            del relay.app.send_task

    relay.bodies[A] = replace
    sent(relay, A, B)
    relay.run()
    assert relay.holder() is None


def test_a_lost_lease_ends_the_workflow(relay: Relay):
    """A member whose key is taken away fails with LockLost, and the next is not sent."""
    relay.bodies[A] = lambda _: relay.room.store.force_release(KEY)
    sent(relay, A, B)
    assert isinstance(relay.run().exception, LockLost)
    assert relay.is_empty()


def test_a_store_that_cannot_be_reached_at_the_end(relay: Relay, monkeypatch: pytest.MonkeyPatch):
    """What the member did counts, and the next comes: it has to wait for the key as anybody."""
    monkeypatch.setattr(handing, "PAUSES", (0.0, 0.0))
    relay.bodies[A] = lambda _: relay.room.store.fail("acquire", times=2) or A
    sent(relay, A, B)
    assert relay.run() == A
    relay.run()
    assert relay.names == [A, B]


@pytest.mark.parametrize("errback", [None, "undo", "undo_called"])
def test_a_store_that_does_not_answer_for_a_moment(relay: Relay, monkeypatch: pytest.MonkeyPatch, errback: str | None):
    """It is asked again, and the workflow goes on under the same lease: with its next task, or with its errback."""
    pauses: list[float] = []
    monkeypatch.setattr(handing, "time", SimpleNamespace(sleep=pauses.append))

    def undo_called(_request, _error, _trace):
        relay.seen.append(("undo", current_lease().fence, current_lease().owner))

    called = relay.app.task(undo_called, name="undo_called", shared=False).s()

    def ends(_):
        relay.room.store.fail("acquire", times=3)
        return A if errback is None else 1 / 0

    relay.bodies[A] = ends
    errbacks = {None: None, "undo": relay.job("undo"), "undo_called": called}
    baton(chain(relay.job(A), relay.job(B)), KEY).apply_async(link_error=errbacks[errback])
    relay.run_all()
    assert relay.names == [A, "undo" if errback else B]
    assert len(set(relay.fences)) == 1
    assert relay.holder() is None
    assert pauses == [*handing.PAUSES[:4]]


def test_the_answer_is_lost_when_it_is_handed_on(relay: Relay):
    """The key has gone to the next: the job did well, and the workflow goes on under the same lease."""
    relay.bodies[A] = lambda _: relay.room.store.fail("acquire", done=True)
    sent(relay, A, B)
    relay.run_all()
    assert relay.names == [A, B]
    assert len(set(relay.fences)) == 1


def test_a_revoked_message_frees_the_key(relay: Relay):
    """It was on its way to this one alone: nobody comes after it."""
    sent(relay, A, B)
    relay.run()
    request = MemberRequest(relay.message(), app=relay.app, task=relay.step)
    unplaced.add(request)
    wait_until(lambda: relay.holder() is None, "the key to be free")
    assert relay.names == [A]


def test_a_revoked_copy_frees_nothing(relay: Relay):
    """The key is not on its way to it."""
    sent(relay, A, B)
    first = relay.message()
    relay.run(first)
    copy = MemberRequest(first, app=relay.app, task=relay.step)
    done = threading.Event()
    with pytest.MonkeyPatch.context() as patch:
        plain = relay.room.store.release
        patch.setattr(relay.room.store, "release", lambda claim: (plain(claim), done.set()))
        unplaced.add(copy)
        assert done.wait(10)
    assert relay.is_on_its_way()


def test_an_errback_that_is_sent_has_it_next(relay: Relay):
    """It runs under the same lease, and the key is free behind it."""
    relay.bodies[A] = lambda _: 1 / 0
    baton(chain(relay.job(A), relay.job(B)), KEY).apply_async(link_error=relay.job("undo"))
    relay.run()
    assert relay.is_on_its_way()
    relay.run()
    assert relay.names == [A, "undo"]
    assert len(set(relay.fences)) == 1
    assert relay.holder() is None


def test_what_is_held_for_an_errback_is_told_of_once(relay: Relay):
    """One that Celery calls: each that is said to have given the key back was said to have taken it, and once."""

    def undo_called(_request, _error, _trace):
        relay.seen.append(("undo", current_lease().fence, current_lease().owner))

    undo = relay.app.task(undo_called, name="undo_called", shared=False)
    relay.bodies[A] = lambda _: 1 / 0
    told = {signal: [] for signal in (acquired, released)}
    receivers = [
        (signal, lambda event, own=own: own.append((event.owner, event.fence))) for signal, own in told.items()
    ]
    for signal, receiver in receivers:
        signal.connect(receiver)
    try:
        baton(relay.job(A), KEY).apply_async(link_error=undo.s())
        relay.run()
    finally:
        for signal, receiver in receivers:
            signal.disconnect(receiver)
    assert relay.names == [A, "undo"]
    assert told[acquired] == told[released]
    assert [owner for owner, _ in told[acquired]] == [owner for _, _, owner in relay.seen]


def test_an_errback_of_one_member(relay: Relay):
    """One that is written into the canvas holds the key as well."""
    relay.bodies[B] = lambda _: 1 / 0
    baton(chain(relay.job(A), relay.job(B).on_error(relay.job("undo"))), KEY).delay()
    relay.run_all()
    assert relay.names == [A, B, "undo"]
    assert relay.holder() is None


def test_a_locked_task_inside_needs_no_key_of_its_own(relay: Relay):
    """Called by a member, it would wait for its own workflow: it runs under the key that this has."""

    @relay.app.task(base=LockedTask, lock_key=KEY, name="bank.locked", shared=False)
    def locked():
        return current_lease().owner

    relay.app.finalize()
    owners = []
    relay.bodies[A] = lambda _: owners.append((relay.app.tasks["bank.locked"](), current_lease().owner))
    sent(relay, A, B)
    relay.run()
    assert len({*owners[0]}) == 1


def test_a_locked_task_inside_takes_its_other_keys(relay: Relay):
    """Of several it takes those that the workflow has not, and waits for nothing that it has."""

    def locked(task, name):
        relay.seen.append((name, task.lease.fence, task.lease.owner))
        keys.append((task.lease.keys, relay.holder(), relay.room.holder("audit")))

    keys = []
    relay.task(locked, "locked", base=LockedTask, lock_key=["audit", KEY])
    baton(chain(relay.job(A), relay.app.tasks["locked"].si(B), relay.job(C)), KEY).delay()
    relay.run_all()
    assert relay.names == [A, B, C]
    ((of_lease, of_workflow, own),) = keys
    assert of_lease == ("audit",)
    assert own
    assert own != of_workflow
    assert relay.fences[0] == relay.fences[2]
    assert relay.holder() is relay.room.holder("audit") is None


@pytest.mark.parametrize("policy", ["requeue", "skip", "fail"])
def test_a_copy_of_a_member_that_is_sent_once_says_nothing(relay: Relay, policy: str):
    """The key is taken while the workflow goes on: that a copy waits, or would fail, is not what became of its job."""

    def work(task, name):
        relay.seen.append((name, task.lease.fence, task.lease.owner))
        copies.extend([relay.run(first)] if name == A and not copies else [])
        return name

    once, states, copies = relay.task(work, "once", base=LockedTask, lock_key=KEY, lock_unique="until_done"), [], []
    baton(chain(once.si(A), relay.job(B)), KEY, on_contention=policy).delay()
    once.backend.store_result = lambda _id, _result, state, **_: states.append(state)
    first = relay.message()
    relay.run(first)
    following, states[:] = [relay.message(), relay.message()], []
    names = [message.headers["task"] for message in following]
    for message in (first, following[names.index("once")]):
        relay.run(message)
    assert relay.is_empty(), "what has ended waits no longer"
    relay.run(following[names.index("step")])
    assert states == ["SUCCESS"]
    assert relay.names == [A, B]


@pytest.mark.parametrize("state", ["SUCCESS", "FAILURE", "PENDING"])
def test_a_copy_that_waits_says_nothing_over_a_result(relay: Relay, state: str):
    """What is known of a job that has ended is not replaced by RETRY, for its message came twice; else it is told."""
    sent(relay, A, B)
    first, states = relay.message(), []
    relay.run(first)
    backend = relay.step.backend
    backend.get_state, backend.store_result = lambda _: state, lambda _id, _result, said, **_: states.append(said)
    relay.run(first)
    assert set(states) == ({"RETRY"} if state == "PENDING" else set())
    # It waits all the same: who wrote that result may have died before the next was sent.
    relay.run_all()
    assert relay.names == [A, B, A, B]


@pytest.mark.parametrize(("option", "to"), [("on_contention", "skip"), ("on_contention", "fail"), ("max_requeues", 0)])
def test_a_copy_that_does_not_wait_says_nothing_over_a_result(relay: Relay, option: str, to: object):
    """Its workflow goes on: neither its own task nor those behind it have failed, or were revoked."""
    baton(chain(*(relay.job(name) for name in (A, B, C))), KEY, **{option: to}).delay()
    first, states, copies = relay.message(), [], []
    backend = relay.step.backend
    backend.get_state = lambda id_: dict(states).get(id_, "PENDING")
    backend.store_result = lambda id_, _result, state, **_: states.append((id_, state))
    relay.run(first)
    relay.bodies[B] = lambda _: copies.append(relay.run(first).exception.exc)
    relay.run_all()
    assert isinstance(copies[0], Ignore)
    assert relay.names == [A, B, C]
    assert [state for _, state in states] == ["SUCCESS"] * 3


def test_a_copy_of_a_member_takes_no_place(relay: Relay):
    """It waits while its job runs, which was unique until it started: whoever sends the next is not told of it."""

    def work(_, name):
        if not places:
            places.append(None)
            relay.run(first)
            places.append(relay.room.holder(f"unique:once:{KEY}"))
        return name

    once, places = relay.task(work, "once", base=LockedTask, lock_key=KEY, lock_unique="until_start"), []
    baton(once.si(A), KEY).delay()
    first = relay.message()
    relay.run(first)
    assert places == [None, None]
    relay.run_all()


def test_a_process_that_was_spawned_knows_members_too(relay: Relay):
    """It has nothing of its parent's memory: it looks at its tasks when it is born."""
    late = relay.app.task(bank.withdraw, name="late", shared=False)
    assert "__call__" not in vars(type(late))
    signals.worker_process_init.send(sender=None)
    assert "__call__" in vars(type(late))


def test_an_eager_workflow(relay: Relay):
    """Done here and now, it holds its key from its first task to its last, or times out."""
    relay.app.conf.task_always_eager = True
    assert baton(chain(relay.job(A), relay.job(B)), KEY).delay().get() == B
    assert len({(fence, owner) for _, fence, owner in relay.seen}) == 1
    assert relay.holder() is None
    with relay.room.locks.lock(KEY), pytest.raises(LockTimeout):
        baton(relay.job(C), KEY).apply()


def test_the_members_of_a_group_share_one_lease(relay: Relay):
    """None of them gives it back; the last of a process leaves it to last for as long as a message is on its way."""
    canvas = chord(group(relay.job(A), relay.job(B)), relay.job(C))
    marked = baton(canvas, KEY, ttl=30, travel=70)._marked({})
    first, second = marked.tasks
    left = []
    relay.bodies[A] = lambda _: (second.apply_async(), relay.run(), left.append(relay.left()))[-1]
    first.apply_async()
    relay.run()
    assert left == [30]
    assert relay.names == [A, B]
    assert len(set(relay.seen)) == 2
    assert len(set(relay.fences)) == 1
    assert relay.is_on_its_way()
    assert relay.left() == 70
    marked.body.apply_async()
    relay.run()
    assert len(set(relay.fences)) == 1
    assert relay.holder() is None


@pytest.mark.parametrize(("travel", "expires"), [(5, None), (30, 2)])
def test_a_member_that_ends_shortens_no_lease_of_its_siblings(
    relay: Relay, monkeypatch: pytest.MonkeyPatch, travel: int, expires: int | None
):
    """One that runs in another process counts on it for a ttl, however short a message may be on its way."""
    canvas = chord(group(relay.job(A), relay.job(B)), relay.job(C))
    first, second = baton(canvas, KEY, ttl=30, travel=travel)._marked({}).tasks
    left = []

    def elsewhere(_):
        with monkeypatch.context() as process:
            process.setattr(together, "_held", {})
            second.apply_async(expires=expires)
            relay.run()
        left.append(relay.left())

    relay.bodies[A] = elsewhere
    first.apply_async()
    relay.run()
    assert relay.names == [A, B]
    assert left == [30]


def test_what_is_asked_for_in_the_name_of_a_step_is_undone_by_nobody(relay: Relay):
    """A try of which nothing is heard may be that of a sibling who runs, and refuses nothing to those who come."""
    sent(relay, A, B)
    relay.run_all()
    marked = baton(chord(group(relay.job(A), relay.job(B)), relay.job(C)), KEY)._marked({})
    for each in (marked.tasks[0], marked.body):
        each.apply_async()
        relay.run()
    claims = [each for each in relay.room.store.called("acquire") if each.owner.startswith("baton[")]
    assert [bool(each.after) for each in claims] == [True, False]
    assert all(each.in_common for each in claims)


def test_jobs_that_are_no_members_run_as_ever(relay: Relay):
    """They see their own request, and a call of the task in its own body has one of its own."""
    seen = []

    def plain(task, depth=0):
        seen.append((task.request, task.request.id))
        if not depth:
            task(1)

    task = relay.task(plain, "plain")
    task.delay()
    message = relay.message()
    relay.run(message)
    assert seen[0][1] == message.headers["id"]
    assert len(seen) == 2
    assert seen[1][0] is not seen[0][0]
    assert relay.room.store.calls == []


@pytest.mark.parametrize(
    ("canvas", "text"),
    [
        (lambda _: chain(), "the canvas is empty"),
        (lambda relay: group(relay.job(A), relay.job(B)), "ends in a group"),
        (lambda relay: chain(relay.job(A), group(relay.job(A), relay.job(B))), "ends in a group"),
        (lambda relay: relay.step.chunks([(1,), (2,)], 1), "chunks.group()"),
        (lambda relay: relay.step, "not <"),
    ],
)
def test_a_canvas_that_cannot_carry_it(relay: Relay, canvas, text: str):
    """Is refused before anything is sent."""
    with pytest.raises(LockConfigError) as caught:
        baton(canvas(relay), KEY)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"tttl": 3}, "unknown option tttl"),
        ({"on_contention": lambda _: None}, "travels in a message"),
        ({"on_outage": "run"}, "never runs without"),
        ({"travel": -1}, "travel"),
        ({"ttl": 0.01}, "heartbeat"),
    ],
)
def test_options_that_cannot_be(relay: Relay, options, text: str):
    """Say what to mend."""
    with pytest.raises(LockConfigError) as caught:
        baton(relay.job(A), KEY, **options)
    assert text in str(caught.value)
    assert KEY in str(caught.value)


def test_an_app_that_knows_nothing_of_locks():
    """Its workers would run the members without the key."""
    task = bank.app().task(bank.withdraw, name="plain", shared=False)
    with pytest.raises(LockConfigError, match=r"celery_locks\.install"):
        baton(task.si(7), KEY)


def test_a_store_that_cannot_hand_over(relay: Relay, monkeypatch: pytest.MonkeyPatch):
    """Its locks live in one process."""
    monkeypatch.setattr(type(relay.room.store), "hands_over", False)
    with pytest.raises(LockConfigError, match=r"hand a lock over .* to Redis, etcd or sql\+"):
        baton(relay.job(A), KEY)


def test_an_outage_puts_a_member_back(relay: Relay):
    """It never runs without the key."""
    sent(relay, A, B)
    relay.room.store.fail("acquire", StoreUnavailable("down"))
    relay.run()
    assert relay.names == []
    relay.run_all()
    assert relay.names == [A, B]
