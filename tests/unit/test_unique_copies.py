"""Copies of a message, as a broker delivers it again: one whose job has ended does not run."""

from __future__ import annotations

import pytest
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded
from celery.utils import uuid

from celery_locks import Skip, StoreUnavailable, signals
from celery_locks.lease import Busy
from celery_locks.requeue import CopyWaits
from celery_locks.unique import ended, places
from celery_locks.unique.ended import Ended, was_heard
from tests.unit.fakes import heard
from tests.unit.hall import DATE, shut
from tests.unit.hall import job as hall_job
from tests.unit.mail import PLACE

UNTIL = ["until_done", "until_start"]


@pytest.fixture(params=["refusing", "forgetting"])
def _of_each_kind(request):
    """A store that refuses an owner which has given a key back, and one that knows no more of that."""
    if request.param == "refusing":
        request.getfixturevalue("refusing")


@pytest.fixture(params=UNTIL)
def queued(_of_each_kind, mail, request):
    """A job that was sent, and its message."""

    def send(**options):
        post = mail(lock_unique=request.param, **options)
        post.task.delay(42)
        return post, post.sent[0]

    return send


def marks(room) -> list[str]:
    """The sends that are known to have ended."""
    return [each.key for each in room.store.list("ended:*")]


def fails(error):
    def body(_):
        raise error

    return body


def test_a_copy_that_comes_later_does_not_run(queued):
    """It ends without a word to the result backend, and leaves the place of the next job alone."""
    post, message = queued()
    assert post.run(message) == "done"
    following = post.task.delay(42)
    assert isinstance(post.run(message), Ended)
    assert isinstance(Ended(), Ignore), "Celery acknowledges it, and stores nothing"
    assert len(post.runs) == 1
    assert post.holder().startswith(f"bank.withdraw[{following.id}]")
    assert post.run(post.sent[1]) == "done"


def test_a_copy_that_came_while_the_job_ran_does_not_run(queued):
    """It waits for the key, and its own message is as old news as the first."""
    post, message = queued()
    copies = []
    post.body = lambda _: copies.append(post.run_elsewhere(message))
    post.run(message)
    assert isinstance(copies[0], Ignore)
    [_, waiting] = post.sent
    assert isinstance(post.run(waiting), Ended)
    assert len(post.runs) == 1
    assert post.holder() is None


def test_a_copy_wakes_in_the_moment_in_which_the_key_is_free(queued, room, monkeypatch):
    """The mark is there before the key is: nothing that is still to be done decides it."""
    post, message = queued()
    plain, copies = room.store.release, []

    def release(claim):
        freed = plain(claim)
        if claim.key == "wallet:42" and not copies:
            copies.append(None)
            copies.append(post.run_elsewhere(message))
        return freed

    monkeypatch.setattr(room.store, "release", release)
    assert post.run(message) == "done"
    assert isinstance(copies[1], Ended)
    assert len(post.runs) == 1


def test_what_is_said_of_a_copy(queued, caplog):
    """One line, and a signal with the name of the send."""
    post, message = queued()
    post.run(message)
    caplog.set_level("INFO", "celery_locks")
    with heard(signals.duplicate) as events:
        post.run(message)
    [event] = events
    assert (event.is_copy, event.task, event.task_id) == (True, "bank.withdraw", message["task_id"])
    assert event.owner == message["headers"]["lock_unique_owner"]
    assert f"bank.withdraw[{message['task_id']}]: its message came once more, but it has ended" in caplog.text


FINAL = {"an error": ValueError("no"), "Ignore": Ignore(), "a soft time limit": SoftTimeLimitExceeded()}


@pytest.mark.parametrize("end", FINAL)
@pytest.mark.parametrize("late", [True, False])
def test_a_definitive_end_is_one_however_it_comes(queued, end, late):
    """What Celery stores as the end of a job, and acknowledges."""
    post, message = queued(acks_late=late)
    post.body = fails(FINAL[end])
    post.run(message)
    assert isinstance(post.run(message), Ended)


OPEN = {
    "Reject, by a queue for dead letters": Reject("no", requeue=False),
    "Reject(requeue=True)": Reject("later", requeue=True),
    "a Retry that was not published": Retry("by hand"),
    "the end of its process": SystemExit(1),
    "Ctrl-C": KeyboardInterrupt(),
    "no memory": MemoryError(),
}


@pytest.mark.parametrize("end", OPEN)
@pytest.mark.parametrize("late", [True, False])
def test_what_may_come_again_runs_again(queued, room, end, late):
    """No end is noted for it."""
    post, message = queued(acks_late=late)
    post.body = fails(OPEN[end])
    post.run(message)
    assert marks(room) == []
    post.body = lambda _: "done"
    assert post.run(message) == "done"


def test_a_failure_that_is_not_acknowledged_may_come_again(queued, room):
    """With acks_on_failure_or_timeout=False its message goes to the dead letters, which may bring it back."""
    post, message = queued(acks_late=True, acks_on_failure_or_timeout=False)
    post.body = fails(ValueError("no"))
    post.run(message)
    assert marks(room) == []


def test_a_retry_is_no_end(queued):
    """The second try runs, and when it has ended no copy of either does."""
    post, message = queued()

    def again(task):
        raise task.retry(countdown=60)

    post.body = again
    assert isinstance(post.run(message), Retry)
    post.body = lambda _: "done"
    retried = post.sent[1]
    assert post.run(retried) == "done"
    for each in (message, retried):
        assert isinstance(post.run(each), Ended)


def test_the_last_retry_is_an_end(queued):
    """A definitive failure."""
    post, message = queued(max_retries=0)

    def again(task):
        raise task.retry(exc=ValueError("no"), countdown=60)

    post.body = again
    assert isinstance(post.run(message), ValueError)
    assert isinstance(post.run(message), Ended)


def test_a_retry_that_is_not_raised_is_no_end(queued):
    """What was published again is to run."""
    post, message = queued()
    post.body = lambda task: bool(task.retry(countdown=60, throw=False))
    post.run(message)
    post.body = lambda _: "done"
    assert post.run(post.sent[1]) == "done"


def test_an_automatic_retry_is_no_end(queued):
    """autoretry_for."""
    post, message = queued(autoretry_for=(ValueError,), retry_backoff=False)
    post.body = fails(ValueError("no"))
    assert isinstance(post.run(message), Retry)
    post.body = lambda _: "done"
    assert post.run(post.sent[1]) == "done"


def test_what_replaces_a_job_runs(queued):
    """Of the same task and key: it goes on in the name of the first, and when it has ended no copy of either runs."""
    post, message = queued()
    post.body = lambda task: task.replace(task.si(42, 99))
    post.run(message)
    post.body = lambda _: "done"
    assert post.run(post.sent[1]) == "done"
    assert isinstance(post.run(message), Ended)
    assert isinstance(post.run(post.sent[1]), Ended)


def test_a_job_that_replaced_itself_under_another_key_has_ended(queued):
    """What replaces it is a send of its own."""
    post, message = queued()
    post.body = lambda task: task.replace(task.si(7))
    post.run(message)
    assert isinstance(post.run(message), Ended)
    post.body = lambda _: "done"
    assert post.run(post.sent[1]) == "done"


def test_the_same_id_sent_once_more_is_another_send(queued):
    """Whoever sends a job again under its id means it."""
    post, message = queued()
    post.run(message)
    post.task.apply_async((42,), task_id=message["task_id"])
    assert post.run(post.sent[1]) == "done"
    assert len(post.runs) == 2


def without_a_place(mail, **options):
    """A member of a chord is sent although another has the place; that one's message is the first of two."""
    post = mail(**options)
    post.task.delay(42)
    member = post.task.si(42)
    member.freeze()
    member.apply_async()
    return post, post.sent[1]


def test_a_job_without_a_place_has_copies_too(mail):
    """A member of a chord that was sent although another had the place."""
    post, message = without_a_place(mail)
    assert post.run(message) == "done"
    assert isinstance(post.run(message), Ended)
    assert post.run(post.sent[0]) == "done"
    assert len(post.runs) == 2


def test_a_retry_of_a_job_without_a_place_runs(mail):
    """It takes the place if that is free by then, and is still the same send."""
    post, message = without_a_place(mail)

    def again(task):
        raise task.retry(countdown=60)

    post.run(post.sent[0])
    post.body = again
    assert isinstance(post.run(message), Retry)
    post.body = lambda _: "done"
    assert post.run(post.sent[2]) == "done"
    assert isinstance(post.run(message), Ended)


@pytest.mark.usefixtures("refusing")
def test_a_retry_in_another_name_heeds_the_end(mail, room):
    """Its place was lost between: a copy of the first try, under the first name, was quicker, and has ended."""
    post = mail()
    post.task.delay(42)
    message = post.sent[0]

    def again(task):
        owner = post.holder()
        room.store.memory.force_release(PLACE)
        room.store.release(room.claim(PLACE, owner=owner))
        raise task.retry(countdown=60)

    post.body = again
    post.run(message)
    retried = post.sent[1]
    assert retried["headers"]["lock_unique_owner"] != retried["headers"]["lock_unique_send"]
    post.body = lambda _: "done"
    assert post.run(message) == "done"
    assert isinstance(post.run(retried), Ended)
    assert post.holder() is None


@pytest.mark.parametrize("until", UNTIL)
def test_a_retry_without_a_place_that_is_not_raised_is_no_end(mail, until):
    """It takes a place of its own, and is the same send for all that."""
    post, message = without_a_place(mail, lock_unique=until)
    post.run(post.sent[0])
    post.body = lambda task: bool(task.retry(countdown=60, throw=False))
    post.run(message)
    post.body = lambda _: "done"
    assert post.run(post.sent[2]) == "done"


def test_what_is_ignored_says_that_its_place_was_seen_to(queued):
    """By this the worker's main process knows what was raised before the task was called."""
    post, message = queued()
    assert not was_heard(Ignore())
    post.body = fails(Ignore())
    assert was_heard(post.run(message))
    assert was_heard(post.run(message)), "a copy"


@pytest.mark.parametrize("began", [True, False])
def test_a_copy_at_the_door_shows_nothing(hall, began):
    """Of a job that runs, or has ended while another job has the key; one that is no copy shows that it waits."""
    task, ident, another = hall_job(hall, lock_unique="until_done"), uuid(), uuid()
    send, claim = places.named(task.name, ident), places.claimed(task.name, ident, PLACE, 60.0)
    headers = places.headers_of(places.Stand(claim, None, send), None)
    waiting = [shut(task, store=headers, ident=each)[0] for each in (ident, another)]
    if not began:
        ended.mark(hall.store, send, claim, 60.0)
    for _, tell in waiting:
        tell(Busy(f"{task.name}[{ident}]@here:1#0" if began else "somebody", 12.0, 3, f"{DATE}ann", present=True))
    assert [task.AsyncResult(each).state for each in (ident, another)] == ["PENDING", "RETRY"]


def test_a_copy_of_one_whose_worker_died_runs(queued, room):
    """The main process has given back what the dead one held: that is no end."""
    post, message = queued()
    for owner, key in ((post.holder(), PLACE), ("bank.withdraw[7]@dead:1#0", "wallet:42")):
        room.store.disown(room.claim(key, owner=owner))
    assert post.run(message) == "done"


def shown(post) -> list[str]:
    """What the result backend is told from now on."""
    states = []
    backend = post.task.app.backend
    backend.store_result = lambda _id, _result, state, **_: states.append(state)
    return states


@pytest.mark.parametrize("at_least", [0, 60])
@pytest.mark.parametrize("policy", ["requeue", "skip", "fail", Skip(result="Processing")])
def test_a_copy_says_nothing_of_a_job_that_runs(queued, policy, at_least):
    """Neither that it waits nor that it was skipped or failed, whatever its policy: the job does well.

    Nor when the key stays taken after the job's end.
    """
    post, message = queued(lock_on_contention=policy, lock_max_requeues=0, lock_at_least=at_least)
    states, copies = shown(post), []
    post.body = lambda _: copies.append(post.run_elsewhere(message))
    post.run(message)
    assert isinstance(copies[0], CopyWaits)
    assert states == []
    assert isinstance(post.run(post.sent[1]), Ended)


@pytest.mark.parametrize("policy", ["requeue", "skip", "fail", Skip(result="Processing")])
def test_a_copy_of_a_job_that_has_ended_says_nothing(queued, room, policy):
    """Another job has the key by now: that it waits, or was skipped, is not what became of the first."""
    post, message = queued(lock_on_contention=policy)
    post.run(message)
    room.take("wallet:42")
    states = shown(post)
    assert isinstance(post.run(message), Ended)
    assert states == []


@pytest.mark.parametrize("policy", ["skip", Skip(result="Processing")])
def test_a_job_that_was_skipped_has_ended(queued, room, policy):
    """Another job had the key; a copy that finds it free does not run."""
    post, message = queued(lock_on_contention=policy)
    other = room.take("wallet:42")
    post.run(message)
    room.free(other)
    assert isinstance(post.run(message), Ended)
    assert post.runs == []


def test_a_copy_that_expires_while_the_job_runs(queued):
    """It does not say that the job is revoked."""
    post, message = queued()
    states, copies = shown(post), []
    post.body = lambda _: copies.append(post.run_elsewhere(message, expires="2020-01-01T00:00:00+00:00"))
    post.run(message)
    assert isinstance(copies[0], Ignore)
    assert (states, len(post.sent)) == ([], 1)


@pytest.mark.usefixtures("_of_each_kind")
def test_a_copy_that_waits_swallows_no_send(mail):
    """With "until_start" what is sent after the body has begun is queued, also while a copy waits that will not run."""
    post, sends = mail(lock_unique="until_start"), []
    first = post.task.delay(42)

    def twice(task):
        post.run_elsewhere(post.sent[0])
        sends.append(task.delay(42).id)

    post.body = twice
    post.run(post.sent[0])
    assert sends != [first.id]
    assert post.holder().startswith(f"bank.withdraw[{sends[0]}]")


def test_the_end_is_remembered_for_as_long_as_a_place_lasts(queued, room):
    """lock_unique_ttl; a copy that comes later than that runs."""
    post, message = queued(lock_unique_ttl=60)
    post.run(message)
    room.clock.advance(59.9)
    assert isinstance(post.run(message), Ended)
    room.clock.advance(0.2)
    assert post.run(message) == "done"


def of_marks(room, verb):
    """The verb of the store, which fails for the marks alone."""
    plain = getattr(room.store, verb)

    def failing(asked):
        key = asked if isinstance(asked, str) else asked.key
        if key.startswith("ended:"):
            raise StoreUnavailable("the server does not answer")
        return plain(asked)

    return failing


def test_an_end_that_cannot_be_noted(queued, room, monkeypatch, caplog):
    """The job's result is its own; the log says that a copy may run."""
    post, message = queued()
    monkeypatch.setattr(room.store, "acquire", of_marks(room, "acquire"))
    assert post.run(message) == "done"
    assert f"a copy of the message of bank.withdraw[{message['task_id']}] may run" in caplog.text
    assert post.holder() is None


@pytest.mark.parametrize("policy", ["requeue", "fail", "run"])
def test_whether_it_has_ended_cannot_be_told(queued, room, monkeypatch, policy):
    """As with any outage `lock_on_outage` decides."""
    post, message = queued(lock_on_outage=policy)
    message["headers"].pop("lock_unique_fence")
    monkeypatch.setattr(room.store, "inspect", of_marks(room, "inspect"))
    ended = post.run(message)
    if policy == "run":
        assert ended == "done"
    else:
        assert isinstance(ended, Retry if policy == "requeue" else StoreUnavailable)
        assert post.runs == []
    monkeypatch.undo()
    if policy == "requeue":
        assert post.run(post.sent[1]) == "done"
    assert post.holder() is None


@pytest.mark.parametrize("error", [SoftTimeLimitExceeded(), KeyboardInterrupt()])
@pytest.mark.parametrize("done", [True, False])
def test_interrupted_while_the_end_is_noted(queued, room, error, done):
    """Noted all the same: the body has ended."""
    post, message = queued()
    post.body = lambda _: room.store.fail("acquire", error, done=done)
    assert post.run(message) is error
    assert isinstance(post.run(message), Ended)
    assert (post.holder(), room.watched()) == (None, [])


def test_a_place_that_has_its_fence_needs_no_look(mail, room):
    """It was not given back since it was sent, so the job has not ended: taken over, renewed, noted, given back."""
    post = mail()
    post.task.delay(42)
    room.store.calls.clear()
    post.run(post.sent[0])
    asked = [(verb, claim.key) for verb, claim in room.store.calls]
    mark = f"ended:{post.sent[0]['headers']['lock_unique_owner']}"
    assert asked == [
        ("acquire", "wallet:42"),
        ("acquire", PLACE),
        ("acquire", mark),
        ("release", PLACE),
        ("release", "wallet:42"),
    ]


def test_until_start_looks_before_it_begins(mail, room):
    """Its place says nothing, for it ends with the beginning of the body."""
    post = mail(lock_unique="until_start")
    post.task.delay(42)
    room.store.calls.clear()
    post.run(post.sent[0])
    assert [verb for verb, _ in room.store.calls] == ["acquire", "inspect", "release", "acquire", "release"]


def test_a_locked_task_that_is_not_unique_asks_for_its_key_alone(mail, room):
    """Two requests a job."""
    post = mail(lock_unique=None)
    post.task.delay(42)
    post.run(post.sent[0])
    assert [verb for verb, _ in room.store.calls] == ["acquire", "release"]
