"""What celery-once and celery-singleton document, said with our options, as the pages on migrating have it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from celery_locks import LockedTask
from tests.unit.fakes import START
from tests.unit.mail import eager

PAGES = Path(__file__).parents[2] / "docs"
BY_ALL = {"lock_key": "{task}:{args}"}


def code(page: str, name: str) -> dict:
    """What a block of a page defines that has this class."""
    [block] = [
        each for each in re.findall(r"```python\n(.*?)```", (PAGES / page).read_text(), re.DOTALL) if name in each
    ]
    defined = {"LockedTask": LockedTask}
    exec(block, defined)  # noqa: S102 - our own page
    return defined


def sends(post, *calls):
    """How many of these calls are published."""
    before = len(post.sent)
    for args in calls:
        post.task.delay(*args)
    return len(post.sent) - before


class TestCeleryOnce:
    """Its documented behaviour."""

    def test_a_second_one_raises_already_queued(self, mail):
        """As the page's base class has it: once={'graceful': False}, the default there."""
        page = code("migrating/celery-once.md", "class Once")
        post = mail(base=page["Once"], lock_key="{task}:{user_id}")
        first = post.task.delay(42)
        with pytest.raises(page["AlreadyQueued"], match=first.id):
            post.task.delay(42)
        with pytest.raises(page["AlreadyQueued"]):
            post.task.apply_async(args=(42,))
        assert len(post.sent) == 1

    def test_graceful(self, mail):
        """No error; a result one can wait for."""
        post = mail()
        assert post.task.delay(42).id == post.task.delay(42).id

    def test_other_arguments_are_other_jobs(self, mail):
        """By default it goes by all of them, whatever way they were given."""
        post = mail(**BY_ALL)
        assert sends(post, (1, 1), (1, 2), (1, 1), (2, 1)) == 3
        post.task.delay(amount=1, user_id=1)
        post.task.apply_async(kwargs={"user_id": 1, "amount": 1})
        assert len(post.sent) == 3

    def test_an_argument_by_default_is_given(self, mail):
        """Left out or said, it is the same job."""
        assert sends(mail(**BY_ALL), (1,), (1, 10)) == 1

    def test_keys(self, mail):
        """once={'keys': ['a']}: the others do not matter."""
        assert sends(mail(lock_key="{task}:{user_id}"), (1, 1), (1, 2), (2, 2)) == 2

    def test_no_keys(self, mail):
        """once={'keys': []}: one job of the task."""
        assert sends(mail(lock_key="{task}"), (1, 1), (2, 2)) == 1

    def test_it_is_cleared_when_the_job_ends_well_or_not(self, mail):
        """The next one is sent."""
        for body in (lambda _: "done", lambda _: 1 / 0):
            post = mail()
            post.task.delay(42)
            post.body = body
            post.run(post.sent[0])
            assert sends(post, (42,)) == 1
            post.run(post.sent[1])

    def test_timeout(self, mail, room):
        """What waits for longer is in nobody's way."""
        post = mail(lock_unique_ttl=60)
        post.task.delay(42)
        room.clock.advance(59)
        assert sends(post, (42,)) == 0
        room.clock.advance(1)
        assert sends(post, (42,)) == 1

    def test_the_default_timeout_is_an_hour(self, mail, room):
        """As there."""
        post = mail()
        post.task.delay(42)
        room.clock.advance(3599)
        assert sends(post, (42,)) == 0
        room.clock.advance(1)
        assert sends(post, (42,)) == 1
        assert room.clock.now == START + 3600

    def test_unlock_before_run(self, mail):
        """lock_unique="until_start": what is sent while it runs is queued."""
        post = mail(lock_unique="until_start")
        post.task.delay(42)
        post.body = lambda task: sends(post, (42,)) and task.request.id
        assert post.run(post.sent[0]) == post.sent[0]["task_id"]
        assert len(post.sent) == 2

    def test_calls_that_are_not_queued_are_not_affected(self, mail):
        """Directly, and by apply()."""
        post = mail()
        post.task.delay(42)
        assert post.task(42) == "done"
        assert post.task.apply((42,)).get() == "done"

    def test_an_id_that_is_given_twice(self, mail):
        """QueueOnceId: the second gives the result of the first."""
        post = mail()
        ids = [post.task.apply_async((42,), task_id="order-7").id for _ in range(2)]
        assert (ids, len(post.sent)) == (["order-7", "order-7"], 1)


class TestCelerySingleton:
    """Its documented behaviour."""

    def test_delay_gives_the_same_result(self, mail):
        """For the same arguments, until that job is done; and another for others."""
        post = mail(**BY_ALL)
        first, same, other = (post.task.delay(*args) for args in ((1, 2), (1, 2), (3, 4)))
        assert first == same != other
        post.run(post.sent[0])
        assert post.task.delay(1, 2) != first

    def test_unique_on(self, mail):
        """By the names of arguments, positional or not."""
        post = mail(lock_key="{task}:{user_id}")
        first = post.task.delay(user_id=7, amount=99)
        assert post.task.delay(7, 100) == first

    def test_raise_on_duplicate(self, mail):
        """The error knows the id of the first."""
        page = code("migrating/celery-singleton.md", "class Strict")
        post = mail(base=page["Strict"])
        first = post.task.delay(42)
        with pytest.raises(page["DuplicateTaskError"]) as caught:
            post.task.delay(42)
        assert caught.value.task_id == first.id

    def test_lock_expiry(self, mail, room):
        """After it another is sent, although the first is still queued."""
        post = mail(lock_unique_ttl=10)
        post.task.delay(42)
        room.clock.advance(11)
        assert sends(post, (42,)) == 1

    def test_clear_locks(self, mail, room):
        """All places at once, as the page has it."""
        post = mail(**BY_ALL)
        sends(post, (1,), (2,))
        for place in room.locks.list("unique:*"):
            room.locks.force_release(place.key)
        assert sends(post, (1,), (2,)) == 2

    @pytest.mark.parametrize("end", [None, ValueError("no")])
    def test_released_on_success_and_on_failure(self, mail, end):
        """And not before."""
        post = mail()
        post.task.delay(42)

        def body(_):
            assert sends(post, (42,)) == 0
            if end:
                raise end

        post.body = body
        post.run(post.sent[0])
        assert sends(post, (42,)) == 1

    def test_publishing_fails(self, mail):
        """It is unlocked."""
        post = mail()
        post.fails = OSError("no broker")
        with pytest.raises(OSError, match="no broker"):
            post.task.delay(42)
        post.fails = None
        assert sends(post, (42,)) == 1

    def test_an_eager_job_leaves_a_queued_one_alone(self, mail):
        """Where it freed its lock there."""
        post = mail()
        post.task.delay(42)
        eager(post)
        post.task.delay(42)
        post.task.app.conf.task_always_eager = False
        assert sends(post, (42,)) == 0


def test_the_page_s_own_error(mail):
    """As docs/unique.md has it."""
    post = mail(base=code("unique.md", "class Strict")["Strict"])
    post.task.delay(42)
    with pytest.raises(RuntimeError, match=r"bank\.withdraw is queued already"):
        post.task.delay(42)
