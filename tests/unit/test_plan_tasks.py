"""What may be a locked task."""

from __future__ import annotations

from celery import Celery, shared_task

from celery_locks import LockedTask
from tests.unit import bank
from tests.unit.bank import key_of, options_of, withdraw


def test_a_bound_task_is_locked_on_its_own_arguments():
    """`self` is none of them."""

    @bank.task(bind=True, lock_key="wallet:{user_id}")
    def job(self, user_id): ...

    assert key_of(job, 42) == "wallet:42"


def test_a_class_based_task_is_locked():
    """`app.register_task(Withdraw())`, with the arguments of its `run`."""

    class Withdraw(LockedTask):
        name = "bank.withdraw"
        lock_key = "wallet:{user_id}"

        def run(self, user_id, amount): ...

    app = bank.app()
    task = app.register_task(Withdraw())
    assert key_of(task, 42, amount=1) == "wallet:42"


def test_a_class_based_task_with_a_static_run_is_locked():
    """It has no `self` to leave out."""

    class Withdraw(LockedTask):
        name = "bank.withdraw"
        lock_key = "wallet:{user_id}"

        @staticmethod
        def run(user_id): ...

    assert key_of(bank.app().register_task(Withdraw()), 42) == "wallet:42"


def test_a_shared_task_is_locked():
    """`@shared_task(base=LockedTask)` is checked by each app that has it."""
    task = shared_task(base=LockedTask, name="bank.shared", lock_key="wallet:{user_id}")(withdraw)
    app = bank.app()
    app.finalize()
    assert app.tasks["bank.shared"]._plan.keys((42,), {}) == ("wallet:42",)
    assert task.name == "bank.shared"


def test_autoretry_does_not_hide_the_arguments():
    """`autoretry_for` wraps what runs, not what it is called with."""
    task = bank.task(withdraw, autoretry_for=(ValueError,), lock_key="wallet:{user_id}")
    assert key_of(task, 42) == "wallet:42"


def test_an_app_whose_every_task_is_locked_leaves_celerys_own_alone():
    """With `task_cls=LockedTask` the built-in tasks take no lock."""
    app = Celery("bank", task_cls=LockedTask, set_as_current=False)
    app.conf.lock_store = "memory://own"
    app.conf.task_annotations = {"*": {"lock_ttl": 60}}
    mine = app.task(name="bank.withdraw")(withdraw)
    app.finalize()
    assert options_of(mine).key == "{task}"
    own = [task for name, task in app.tasks.items() if name.startswith("celery.")]
    assert own
    assert [task.name for task in own if task._plan] == []


def test_celerys_own_tasks_still_run_in_such_an_app():
    """A group's accumulate, called as a worker would, is not refused for want of a lock."""
    app = Celery("bank", task_cls=LockedTask, set_as_current=False)
    app.conf.lock_store = "memory://own"
    assert app.tasks["celery.accumulate"](1, 2) == (1, 2)


def test_the_plan_of_a_base_task_is_not_that_of_its_heirs():
    """A task class that inherits from another task has its own key."""

    class Withdraw(LockedTask):
        name = "bank.withdraw"
        lock_key = "wallet:{user_id}"

        def run(self, user_id): ...

    class Refund(Withdraw):
        name = "bank.refund"
        lock_key = "refund:{user_id}"

    app = bank.app()
    first, second = app.register_task(Withdraw()), app.register_task(Refund())
    assert (key_of(first, 42), key_of(second, 42)) == ("wallet:42", "refund:42")
