"""The place of a job that runs: taken over, kept, handed on, given back."""

from __future__ import annotations

import uuid

import pytest
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded

from celery_locks import Skip, StoreUnavailable
from celery_locks.lease import Lease
from celery_locks.requeue import CopyWaits
from tests.unit.mail import PLACE, striking


@pytest.fixture
def queued(mail):
    """A job that was sent, and its message."""

    def send(**options):
        post = mail(**options)
        post.task.delay(42)
        return post, post.sent[0]

    return send


def test_it_is_kept_until_the_job_is_done(queued):
    """A send while the job runs gives its result; one after it is sent."""
    post, message = queued()
    ids = []
    post.body = lambda task: ids.append(task.delay(42).id)
    post.run(message)
    assert ids == [message["task_id"]]
    assert post.holder() is None
    assert post.task.delay(42).id != message["task_id"]


def test_it_is_free_when_the_body_begins(queued):
    """With "until_start" a job that is sent from then on is queued."""
    post, message = queued(lock_unique="until_start")
    post.body = lambda task: task.delay(42).id
    assert post.run(message) == post.sent[1]["task_id"] != message["task_id"]
    assert post.holder().startswith(f"bank.withdraw[{post.sent[1]['task_id']}]")


def test_it_is_taken_over_without_a_gap(queued, room):
    """The worker's lease is the sender's: same owner, same fence, and the ttl that beats keep."""
    post, message = queued()
    before = room.store.memory.inspect(PLACE)
    seen = []
    post.body = lambda _: seen.append(room.store.memory.inspect(PLACE))
    post.run(message)
    [during] = seen
    assert (during.owner, during.fence) == (before.owner, before.fence)
    assert (before.remaining, during.remaining) == (3600.0, 30.0)


def test_the_keeper_beats_for_it(queued, room):
    """Beside the key's own lease, and for neither when the job is over."""
    post, message = queued()
    seen = []
    post.body = lambda _: seen.extend(each.key for each in room.watched())
    post.run(message)
    assert sorted(seen) == [PLACE, "wallet:42"]
    assert room.watched() == []


def test_the_last_word_of_its_sender_may_come_late(queued, room):
    """The sender gives it the long ttl when the job runs already: the next beat gives it the short one again."""
    post, message = queued()
    left = []

    def late(_):
        [held] = [each for each in room.watched() if each.key == PLACE]
        sender = Lease(held.claim._replace(ttl=3600.0), held.fence, None)
        room.store.renew([sender])
        left.append(post.left())
        room.clock.advance(10.0)
        room.keeper.tick()
        left.append(post.left())

    post.body = late
    post.run(message)
    assert left == [3600.0, 30.0]


def test_without_a_heartbeat_nobody_beats_for_it(queued, room):
    """It lasts as long as the key's own lease."""
    post, message = queued(lock_heartbeat=False)
    seen = []
    post.body = lambda _: seen.extend(each.key for each in room.watched())
    post.run(message)
    assert PLACE not in seen


ENDS = {
    "an error": ValueError("no"),
    "Ignore": Ignore(),
    "Reject": Reject("no", requeue=False),
    "Reject of what was acknowledged early": Reject("later", requeue=True),
    "a soft time limit": SoftTimeLimitExceeded(),
    "the end of its process": SystemExit(1),
    "a Retry that was not published": Retry("by hand"),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("until", ["until_done", "until_start"])
def test_a_job_that_ends_gives_it_back(queued, end, until):
    """However it ends, as long as it does not come again."""
    post, message = queued(lock_unique=until)

    def fail(_):
        raise ENDS[end]

    post.body = fail
    assert isinstance(post.run(message), type(ENDS[end]))
    assert post.holder() is None


@pytest.mark.parametrize("until", ["until_done", "until_start"])
def test_a_retry_keeps_it(queued, until):
    """It has the long ttl while it waits, and a send meanwhile gives the result of the job that is tried again."""
    post, message = queued(lock_unique=until)

    def again(task):
        raise task.retry(countdown=60)

    post.body = again
    assert isinstance(post.run(message), Retry)
    assert post.left() == 3660.0
    assert post.task.delay(42).id == message["task_id"]
    retried = post.sent[1]
    post.body = lambda _: "done"
    assert post.run(retried) == "done"
    assert post.holder() is None
    assert len(post.sent) == 2


def test_a_retry_with_other_arguments_keeps_it(queued):
    """Its place is the one that was taken when it was sent."""
    post, message = queued()

    def again(task):
        raise task.retry(args=(7,), countdown=60)

    post.body = again
    post.run(message)
    assert post.task.delay(42).id == message["task_id"]
    post.body = lambda _: "done"
    assert post.run(post.sent[1]) == "done"
    assert post.holder() is None


def test_a_retry_that_is_not_raised_keeps_it(queued):
    """What counts is that the job was published again, not how its body ends."""
    post, message = queued()
    post.body = lambda task: bool(task.retry(countdown=60, throw=False))
    assert post.run(message) is True
    assert post.left() == 3660.0


def test_a_retry_that_cannot_be_published_gives_it_back(queued):
    """Celery rejects such a job, and nothing of it is left."""
    post, message = queued()

    def again(task):
        post.fails = OSError("the broker is down")
        raise task.retry(countdown=60)

    post.body = again
    assert isinstance(post.run(message), Reject)
    assert post.holder() is None


def test_the_last_retry_gives_it_back(queued):
    """A definitive failure is what ends it."""
    post, message = queued(max_retries=0)

    def again(task):
        raise task.retry(exc=ValueError("no"), countdown=60)

    post.body = again
    assert isinstance(post.run(message), ValueError)
    assert post.holder() is None


def test_a_message_that_goes_back_to_its_queue_keeps_it(queued):
    """Reject(requeue=True): it comes again, with the same claim."""
    post, message = queued(acks_late=True)

    def fail(_):
        raise Reject("later", requeue=True)

    post.body = fail
    post.run(message)
    assert post.left() == 3600.0
    post.body = lambda _: "done"
    post.run(message)
    assert post.holder() is None


@pytest.mark.parametrize("until", ["until_done", "until_start"])
def test_a_job_that_finds_its_key_taken_keeps_it(queued, room, until):
    """It has not begun: it goes back to its queue, and is still the one that is queued."""
    post, message = queued(lock_unique=until, lock_countdown=5)
    room.clock.advance(3000)
    other = room.take("wallet:42")
    assert isinstance(post.run(message), Retry)
    assert post.left() == 3605.0
    assert post.task.delay(42).id == message["task_id"]
    room.free(other)
    assert post.run(post.sent[1]) == "done"
    assert post.holder() is None


@pytest.mark.parametrize("policy", ["skip", "fail", Skip(result="Processing")])
def test_a_job_that_gives_up_gives_it_back(queued, room, policy):
    """A policy that does not let it wait ends it."""
    post, message = queued(lock_on_contention=policy)
    room.take("wallet:42")
    post.run(message)
    assert post.holder() is None


@pytest.mark.parametrize("policy", ["requeue", "skip", "fail", Skip(result="Processing")])
def test_a_copy_of_a_running_job_takes_nothing_from_it(queued, policy):
    """A message that came twice: whatever the policy, the copy waits, and the place is still the running job's."""
    post, message = queued(lock_on_contention=policy)
    copies, seen = [], []

    def twice(_):
        if not copies:
            copies.append(None)
            # As in another process: that one has no idea of what runs here.
            copies.append(post.run_elsewhere(message))
            seen.append(post.holder())

    post.body = twice
    post.run(message)
    assert isinstance(copies[1], CopyWaits)
    assert len(post.sent) == 2
    assert seen[0].startswith(f"bank.withdraw[{message['task_id']}]")
    assert post.holder() is None


@pytest.mark.usefixtures("refusing")
def test_a_copy_of_one_whose_worker_died_takes_it_again(queued, room):
    """The worker's main process gave it back; the copy is under way: it is taken in another name, if it is free."""
    post, message = queued()
    room.store.release(room.store.memory.acquire(room.claim(PLACE, owner=post.holder())).claim)
    assert post.holder() is None
    seen = []
    post.body = lambda task: seen.append(task.delay(42).id)
    post.run(message)
    assert seen == [message["task_id"]]
    assert post.holder() is None


@pytest.mark.usefixtures("refusing")
def test_a_copy_in_another_name_that_goes_back(queued, room):
    """Its message cannot be told the name: the place is given back, and not kept for nobody."""
    post, message = queued(acks_late=True)
    room.store.release(room.claim(PLACE, owner=post.holder()))

    def fail(_):
        raise Reject("later", requeue=True)

    post.body = fail
    post.run(message)
    assert post.holder() is None


def test_a_copy_runs_although_another_job_has_the_place(queued, room):
    """What was sent is run. It does not touch the other's place."""
    post, message = queued()
    room.store.memory.force_release(PLACE)
    other = post.task.delay(42)
    assert post.run(message) == "done"
    assert post.holder().startswith(f"bank.withdraw[{other.id}]")


def test_a_place_that_is_forced_free_while_its_job_runs(queued, room, caplog):
    """The job goes on: its key is another one. The log says so."""
    post, message = queued()

    def lose(_):
        room.store.memory.force_release(PLACE)
        room.clock.advance(10.0)
        room.keeper.tick()
        return "done"

    post.body = lose
    assert post.run(message) == "done"
    assert f"lost the lease of {PLACE!r}" in caplog.text


def test_a_retry_after_its_place_was_forced_free(queued, room):
    """It is taken anew while the job waits."""
    post, message = queued()

    def again(task):
        room.store.memory.force_release(PLACE)
        raise task.retry(countdown=60)

    post.body = again
    post.run(message)
    assert post.task.delay(42).id == message["task_id"]
    post.body = lambda _: "done"
    post.run(post.sent[1])
    assert post.holder() is None


def test_a_retry_whose_place_another_job_has(queued, room):
    """It is published without a claim, and does not free the other's."""
    post, message = queued()
    others = []

    def again(task):
        room.store.memory.force_release(PLACE)
        others.append(room.take(PLACE, owner="bank.withdraw[other]@here:1#0"))
        raise task.retry(countdown=60)

    post.body = again
    post.run(message)
    assert "lock_unique_key" not in post.sent[1]["headers"]
    post.body = lambda _: "done"
    post.run(post.sent[1])
    assert post.holder() == others[0].owner


def test_a_job_that_replaces_itself(queued):
    """The same task, the same key, the same id: the place goes on to what replaces it, and nothing is dropped."""
    post, message = queued()
    post.body = lambda task: task.replace(task.si(42, 99))
    assert isinstance(post.run(message), Ignore)
    assert post.left() == 3600.0
    [_, replaced] = post.sent
    assert replaced["task_id"] == message["task_id"]
    assert post.task.delay(42).id == message["task_id"]
    post.body = lambda _: "done"
    assert post.run(replaced) == "done"
    assert post.holder() is None


def test_a_job_that_replaces_itself_under_another_key(queued):
    """It takes a place of its own, and gives back the one it had."""
    post, message = queued()
    post.body = lambda task: task.replace(task.si(7))
    post.run(message)
    assert post.holder() is None
    assert post.task.delay(7).id == message["task_id"]


def test_an_id_that_is_no_text(mail):
    """A UUID is as good as its text."""
    post, ident = mail(), uuid.uuid4()
    post.task.apply_async((42,), task_id=ident)
    assert post.task.delay(42).id == str(ident)

    def again(task):
        raise task.retry(countdown=60)

    post.body = again
    post.run(post.sent[0])
    assert post.left() == 3660.0
    post.body = lambda _: "done"
    assert post.run(post.sent[1]) == "done"
    assert post.holder() is None


def test_a_job_without_a_place_is_run(queued, room):
    """As one that is sent by name."""
    post, message = queued()
    room.store.memory.force_release(PLACE)
    message["headers"] = None
    assert post.run(message) == "done"


def test_the_claim_of_another_job_is_not_given_back(queued):
    """A job that was sent by name with the headers of another leaves its place alone."""
    post, message = queued()
    before = post.holder()
    post.run({**message, "task_id": "another"})
    assert post.holder() == before


@pytest.mark.parametrize("policy", ["requeue", "fail", "run"])
def test_a_place_that_cannot_be_freed_at_the_start(queued, room, policy):
    """A job sent from now on would be told that this one is still to begin: it does not begin, unless told to run."""
    post, message = queued(lock_unique="until_start", lock_on_outage=policy)
    room.store.fail("release")
    ended = post.run(message)
    if policy == "run":
        assert ended == "done"
    else:
        assert isinstance(ended, Retry if policy == "requeue" else StoreUnavailable)
        assert post.runs == []
    if policy == "requeue":
        assert post.run(post.sent[1]) == "done"
    assert post.holder() is None


def test_the_store_goes_down_when_it_is_to_be_taken_over(queued, room, monkeypatch):
    """The job runs, and the place has what is left of its long ttl, until it is given back."""
    post, message = queued()
    striking(room, monkeypatch, "acquire", StoreUnavailable("the server does not answer"), done=False)
    left = []
    post.body = lambda _: left.append(post.left())
    post.run(message)
    assert left == [3600.0]
    assert post.holder() is None


def test_the_store_goes_down_when_it_is_to_be_given_back(queued, room, monkeypatch):
    """The job's result is its own; the place ends with its ttl."""
    post, message = queued()
    striking(room, monkeypatch, "release", StoreUnavailable("the server does not answer"), done=False)
    assert post.run(message) == "done"
    room.clock.advance(30.0)
    assert post.holder() is None


def test_interrupted_while_it_is_taken_over(queued, room, monkeypatch):
    """A soft time limit after the store has given the place: it is given back, and nobody beats for it."""
    post, message = queued()
    striking(room, monkeypatch, "acquire", SoftTimeLimitExceeded(), done=True)
    assert isinstance(post.run(message), SoftTimeLimitExceeded)
    assert post.holder() is None
    assert room.watched() == []


@pytest.mark.usefixtures("refusing")
def test_interrupted_while_it_is_taken_in_another_name(queued, room, monkeypatch):
    """The same where it had been given back."""
    post, message = queued()
    room.store.release(room.claim(PLACE, owner=post.holder()))
    plain = room.store.acquire

    def strike(claim):
        outcome = plain(claim)
        if claim.key == PLACE and isinstance(outcome, Lease):
            raise SoftTimeLimitExceeded
        return outcome

    monkeypatch.setattr(room.store, "acquire", strike)
    assert isinstance(post.run(message), SoftTimeLimitExceeded)
    assert post.holder() is None
    assert room.watched() == []


def test_a_job_whose_key_cannot_be_made_gives_it_back(queued, monkeypatch):
    """As when its worker has other code than its sender."""
    post, message = queued()

    def fail(*_):
        raise ValueError("no such field")

    monkeypatch.setattr(post.task._plan, "keys", fail)
    assert isinstance(post.run(message), ValueError)
    assert post.holder() is None


def test_called_in_its_own_body(queued):
    """A direct call has a copy of the running request, and no place of its own: it gives none back."""
    post, message = queued()
    seen = []

    def call(task):
        if not seen:
            seen.append(None)
            assert task(7) is None
            seen.append(post.holder())

    post.body = call
    post.run(message)
    assert seen[1] is not None
    assert post.holder() is None


def test_a_job_that_another_process_sends_again_keeps_its_place(queued, room):
    """As a worker's main process does, when the process that ran it is lost."""
    post, message = queued()
    before = post.holder()
    room.clock.advance(3000)
    sent = {"task_id": message["task_id"], "headers": message["headers"], "retries": 1}
    assert post.task.apply_async((42,), **sent).id == message["task_id"]
    assert post.sent[1]["headers"] == message["headers"]
    assert (post.holder(), post.left()) == (before, 3600.0)


@pytest.mark.usefixtures("refusing")
def test_a_job_that_is_sent_again_after_its_place_was_given_back(queued, room):
    """It is taken in another name, and its message says in which."""
    post, message = queued()
    room.store.release(room.claim(PLACE, owner=post.holder()))
    post.task.apply_async((42,), task_id=message["task_id"], headers=message["headers"])
    assert post.sent[1]["headers"]["lock_unique_owner"] == post.holder() != message["headers"]["lock_unique_owner"]
    assert post.run(post.sent[1]) == "done"
    assert post.holder() is None
