"""A job that is sent while another has its place."""

from __future__ import annotations

import pytest
from celery import Task, chain, chord, group

from celery_locks import LockConfigError, StoreUnavailable, signals
from celery_locks.lease import Busy
from celery_locks.unique.sending import SENDING
from tests.unit.bank import refusal
from tests.unit.fakes import heard
from tests.unit.mail import PLACE, eager


def test_a_second_send_gives_the_first_result(mail):
    """It has the first one's id, and nothing is published."""
    post = mail()
    first = post.task.delay(42)
    second = post.task.delay(user_id=42)
    assert (second.id, second) == (first.id, first)
    assert len(post.sent) == 1


def test_jobs_of_other_keys_are_sent(mail):
    """What is not in the key tells no two jobs apart, and what is in it does."""
    post = mail()
    first = post.task.delay(42, 10)
    assert post.task.delay(42, 99).id == first.id
    assert post.task.delay(7).id != first.id


def test_the_place_is_that_of_the_task(mail, room):
    """A job of another task with the same key is no second one; who holds the key that jobs lock does not matter."""
    post = mail()
    room.take("wallet:42")
    room.take("unique:bank.deposit:wallet:42")
    post.task.delay(42)
    assert len(post.sent) == 1
    assert post.holder().startswith("bank.withdraw[")


@pytest.mark.parametrize("given", [None, "7", "a]@b", "[x]"])
def test_the_first_id_is_found_whatever_it_is(mail, given):
    """An id may be any text."""
    post = mail()
    first = post.task.apply_async((42,), task_id=given)
    assert post.task.delay(42).id == first.id
    assert given in (None, first.id)


def test_a_task_without_the_option_asks_no_store(mail, room):
    """Its send is Celery's own."""
    post = mail(lock_unique=None)
    post.task.delay(42)
    post.task.delay(42)
    assert len(post.sent) == 2
    assert room.store.calls == []
    assert not post.sent[0].get("headers")


def test_an_id_that_is_sent_twice(mail):
    """The second is one too many, as any other: it is queued already."""
    post = mail()
    for _ in range(2):
        assert post.task.apply_async((42,), task_id="mine").id == "mine"
    assert len(post.sent) == 1


def test_what_is_said_of_a_send_that_was_not_done(mail):
    """A signal names the place and the job that has it."""
    post = mail()
    first = post.task.delay(42)
    with heard(signals.duplicate) as events:
        post.task.delay(42)
    [event] = events
    assert (event.key, event.task, event.task_id, event.owner) == (PLACE, "bank.withdraw", first.id, post.holder())


class DuplicateError(Exception):
    """What a project may raise."""


def test_a_task_may_raise_instead(mail):
    """`on_duplicate` is given the first result, and what it gives or raises is what the sender gets."""

    def raises(_, first):
        raise DuplicateError(first.id)

    post = mail(on_duplicate=raises)
    first = post.task.delay(42)
    with pytest.raises(DuplicateError, match=first.id):
        post.task.delay(42)


def test_a_result_that_nobody_stores_is_not_waited_for(mail):
    """`get()` of a second result gives None at once, as that of the first, where results are ignored."""
    post = mail(ignore_result=True)
    post.task.delay(42)
    assert post.task.delay(42).get(timeout=1) is None


def test_publishing_fails(mail):
    """The place is free again, and the sender is told."""
    post = mail()
    post.fails = OSError("the broker is down")
    with pytest.raises(OSError, match="broker is down"):
        post.task.delay(42)
    assert post.holder() is None
    post.fails = None
    post.task.delay(42)
    assert len(post.sent) == 1


def test_interrupted_while_it_asks(mail, room):
    """Ctrl-C after the store has given the place: it is given back."""
    post = mail()
    room.store.fail("acquire", KeyboardInterrupt(), done=True)
    with pytest.raises(KeyboardInterrupt):
        post.task.delay(42)
    assert post.holder() is None


def test_a_sender_that_dies_leaves_it_taken_for_a_short_time(mail):
    """Until the message is out the place has a short ttl; from then on the long one."""
    post = mail()
    seen = []
    post.on_publish = lambda: seen.append(post.left())
    post.task.delay(42)
    assert seen == [SENDING]
    assert post.left() == 3600.0


def test_a_place_that_ends_while_its_job_is_published_is_not_taken_again(mail, room):
    """The job may have run by then, and nobody would give it back."""
    post = mail()
    post.on_publish = lambda: room.store.memory.force_release(PLACE)
    post.task.delay(42)
    assert post.holder() is None
    assert len(post.sent) == 1


def test_a_place_that_ends_before_its_job_is_published_is_taken_again(mail, room):
    """A broker that hangs for longer than a sender has its place: the job that waits then has one all the same."""
    post = mail()
    post.on_publish = lambda: room.clock.advance(SENDING + 1)
    first = post.task.delay(42)
    assert post.left() == 3600.0
    assert post.task.delay(42).id == first.id
    assert post.run(post.sent[0]) == "done"
    assert post.holder() is None


@pytest.mark.parametrize("until", ["until_done", "until_start"])
def test_a_job_that_has_begun_before_its_sender_knows_gets_no_place_again(mail, room, until):
    """Nobody would give it back."""
    post = mail(lock_unique=until)

    def run_at_once(name, args, kwargs, **message):
        result = post._publish(name, args, kwargs, **message)
        room.clock.advance(SENDING + 1)
        post.run_elsewhere(post.sent[0])
        return result

    post.task.app.send_task = run_at_once
    post.task.delay(42)
    assert post.runs == [(42, 10)]
    assert post.holder() is None


def test_another_took_the_place_while_a_job_was_published(mail, room, caplog):
    """Both are queued, and the log says so."""
    post = mail()

    def hang():
        post.on_publish = lambda: None
        room.clock.advance(SENDING + 1)
        post.task.delay(42)

    post.on_publish = hang
    post.task.delay(42)
    assert len(post.sent) == 2
    assert "was long on its way: another job is queued as well" in caplog.text


def test_the_store_goes_down_while_a_job_is_published(mail, room):
    """The job is sent; its place has its short ttl."""
    post = mail()
    room.store.fail("renew")
    assert post.task.delay(42).id == post.sent[0]["task_id"]
    assert post.left() == SENDING


@pytest.mark.parametrize("policy", ["requeue", "run"])
def test_a_store_that_is_down_loses_no_job(mail, room, policy, caplog):
    """It is sent without its place, and a line in the log says so."""
    post = mail(lock_on_outage=policy)
    room.store.fail("acquire")
    post.task.delay(42)
    [sent] = post.sent
    assert list(sent["headers"]) == ["lock_unique_send"]
    assert "is sent without its place" in caplog.text


def test_a_store_that_is_down_may_refuse(mail, room):
    """With lock_on_outage="fail" the sender gets the error, and nothing is sent."""
    post = mail(lock_on_outage="fail")
    room.store.fail("acquire")
    with pytest.raises(StoreUnavailable, match=r"bank\.withdraw is not sent: 'unique:bank\.withdraw:wallet:42'"):
        post.task.delay(42)
    assert post.sent == []


class Order:
    """What a task may take whose arguments are models."""

    tenant = 7


@pytest.mark.xfail(not hasattr(Task, "_dump_pydantic_arguments"), reason="Celery dumps them from 5.7 on", run=False)
def test_models_are_seen_as_the_worker_sees_them(mail):
    """Celery dumps them when it publishes: the key is made of that."""
    dumped = staticmethod(lambda _, kwargs: ((), {**kwargs, "user_id": {"tenant": kwargs["user_id"].tenant}}))
    post = mail(lock_key="{task}:{args}", _dump_pydantic_arguments=dumped)
    first = post.task.delay(user_id=Order())
    assert post.task.delay(user_id=Order()).id == first.id


def test_a_place_that_no_job_has(mail, room, caplog):
    """Somebody has taken it by hand: there is no result to give, so the job is sent."""
    post = mail()
    room.take(PLACE, owner="lock@here:1#abc")
    post.task.delay(42)
    assert len(post.sent) == 1
    assert "is taken by no job (lock@here:1#abc)" in caplog.text
    assert post.holder() == "lock@here:1#abc"


def test_a_store_that_does_not_know_who_has_it_is_asked_again(mail, room, monkeypatch):
    """As one of several nodes whose votes are split: in a moment it knows."""
    post = mail()
    first = post.task.delay(42)
    plain, unknown = room.store.acquire, [Busy(), Busy()]
    monkeypatch.setattr(room.store, "acquire", lambda claim: unknown.pop() if unknown else plain(claim))
    assert post.task.delay(42).id == first.id
    assert len(post.sent) == 1


def test_what_somebody_waits_for_is_sent_without_a_store(mail, room):
    """Also with lock_on_outage="fail": the next step of a chain is sent by a worker, who has nobody to tell."""
    post = mail(lock_on_outage="fail")
    step = post.task.si(42)
    step.freeze()
    room.store.fail("acquire")
    step.apply_async()
    assert len(post.sent) == 1


def test_a_task_that_another_thread_is_just_binding_is_unique(mail, monkeypatch):
    """It is in its app already, and has no plan yet."""
    post = mail()
    monkeypatch.setattr(type(post.task), "_plan", None)
    assert post.task.delay(42).id == post.task.delay(42).id
    assert len(post.sent) == 1


def test_the_headers_of_a_sender_are_kept(mail):
    """The claim comes beside them."""
    post = mail()
    post.task.apply_async((42,), headers={"tenant": 3})
    assert post.sent[0]["headers"] == {
        "tenant": 3,
        "lock_unique_key": PLACE,
        "lock_unique_owner": post.holder(),
        "lock_unique_fence": post.room.store.memory.inspect(PLACE).fence,
    }


def test_headers_that_were_passed_on_claim_nothing(mail):
    """A job that is sent with the headers of another one has a place of its own."""
    post = mail()
    post.task.delay(42)
    post.task.apply_async((7,), headers=post.sent[0]["headers"])
    assert post.sent[1]["headers"]["lock_unique_key"] == "unique:bank.withdraw:wallet:7"
    assert post.sent[1]["headers"]["lock_unique_owner"] != post.holder()


@pytest.mark.parametrize("how", ["group", "chain", "chord", "frozen"])
def test_what_somebody_waits_for_is_always_sent(mail, how):
    """Members of a group, chain or chord have given out their ids: they are sent, also without a place.

    The first takes the place, so that what is sent outside of it is a second one.
    """
    post = mail()
    post.task.app.backend.set_chord_size = post.task.app.backend.apply_chord = lambda *_, **__: None
    two = [post.task.si(42), post.task.si(42)]
    if how == "group":
        group(two).apply_async()
    elif how == "chain":
        chain(two).apply_async()
        # The worker sends the second.
        post.sent[0]["chain"][0].clone().apply_async()
    elif how == "chord":
        chord(two, post.task.si(7)).apply_async()
    else:
        for each in two:
            each.freeze()
            each.apply_async()
    assert len(post.sent) == 2
    assert post.sent[0]["task_id"] != post.sent[1]["task_id"]
    assert list(post.sent[1]["headers"]) == ["lock_unique_send"]
    assert post.task.delay(42).id == post.sent[0]["task_id"]


def test_a_link_is_an_ordinary_send(mail):
    """Nobody knows the id of a callback: a second one is not sent."""
    post = mail()
    link = post.task.si(42)
    assert link.apply_async((1,), parent_id="1", root_id="1").id == link.apply_async((2,)).id
    assert len(post.sent) == 1


def test_an_eager_send_has_no_place(mail):
    """It runs here and now, every time, and leaves alone what is queued."""
    post = mail()
    post.task.delay(42)
    before = post.holder()
    eager(post)
    assert [post.task.delay(42).get() for _ in range(2)] == ["done", "done"]
    assert post.task.apply((42,)).get() == "done"
    assert post.holder() == before


def test_a_direct_call_has_no_place(mail):
    """It runs here and now."""
    post = mail()
    post.task.delay(42)
    assert post.task(42) == "done"
    assert post.holder() is not None


def test_arguments_that_give_no_key_are_an_error_of_the_sender(mail):
    """Found when it is sent, and not by the worker."""
    post = mail(lock_key="wallet:{user_id.number}")
    with pytest.raises(LockConfigError, match="cannot be filled in"):
        post.task.delay(42)
    assert post.sent == []


@pytest.mark.parametrize("store", ["file:///tmp/x", None, "zookeeper://h", "postgresql+advisory://h"])
def test_a_store_whose_locks_stay_in_one_process_is_refused(store):
    """When the task is declared, with the reason."""
    said = refusal(lock_unique="until_done", conf={"lock_store": store})
    assert "needs a store whose locks are handed from the sender to the worker" in said


def test_a_value_that_is_none_is_refused():
    """With those there are."""
    assert "lock_unique must be one of 'until_start', 'until_done', not True" in refusal(lock_unique=True)
    assert "lock_unique_ttl" in refusal(lock_unique_ttl=0)
