"""Where the options of a task come from, and what is one."""

from __future__ import annotations

import types

import pytest
from celery import Celery

from celery_locks import LockConfigError, LockedTask, Locks, Requeue, Skip
from celery_locks.plan import declared
from tests.unit import bank
from tests.unit.bank import key_of, options_of, refusal, withdraw

# Where options come from


def test_the_decorator_sets_options():
    """As it sets all task options."""
    task = bank.task(withdraw, lock_key="wallet:{user_id}", lock_ttl=10, lock_wait=5, lock_countdown=30)
    assert (options_of(task).ttl, options_of(task).wait, options_of(task).countdown) == (10.0, 5.0, 30.0)
    assert key_of(task, 42) == key_of(task, user_id=42) == "wallet:42"


def test_a_task_that_sets_nothing_has_one_key():
    """Its name: one job of it at a time."""
    assert key_of(bank.task(withdraw), 42) == "bank.withdraw"


def test_a_base_class_sets_options():
    """For all tasks that are based on it."""

    class Wallet(LockedTask):
        lock_key = "wallet:{user_id}"
        lock_ttl = 10

    task = bank.task(withdraw, base=Wallet)
    assert options_of(task).ttl == 10.0
    assert key_of(task, 42) == "wallet:42"


def test_the_nearest_class_wins():
    """A task over its base, a base over its own."""

    class Slow(LockedTask):
        lock_ttl = 100
        lock_wait = 7

    class Wallet(Slow):
        lock_ttl = 50

    task = bank.task(withdraw, base=Wallet, lock_countdown=3)
    assert (options_of(task).ttl, options_of(task).wait, options_of(task).countdown) == (50.0, 7.0, 3.0)


def test_a_mixin_sets_options():
    """Also one that is no task, as long as it stands before `LockedTask`."""

    class Patient:
        lock_wait = 9

    class Wallet(Patient, LockedTask):
        pass

    assert options_of(bank.task(withdraw, base=Wallet)).wait == 9.0


def test_settings_set_defaults():
    """`app.conf.lock_ttl` is the default of every task, and what a task sets itself is stronger."""
    conf = {"lock_ttl": 60, "lock_wait": 2}
    task = bank.task(withdraw, conf=conf, lock_wait=5)
    assert (options_of(task).ttl, options_of(task).wait) == (60.0, 5.0)


def test_a_task_may_go_back_to_the_builtin_default():
    """Set to what it would be anyway, an option is still set: the setting does not apply."""
    assert options_of(bank.task(withdraw, conf={"lock_ttl": 60}, lock_ttl=30)).ttl == 30.0


def test_annotations_set_options():
    """`task_annotations`, by name and for all, as for any task option."""
    conf = {"task_annotations": {"bank.withdraw": {"lock_ttl": 77}, "*": {"lock_wait": 3}}}
    task = bank.task(withdraw, conf=conf, lock_ttl=10)
    assert (options_of(task).ttl, options_of(task).wait) == (77.0, 3.0)


def test_an_annotation_is_checked():
    """A mistake in the annotations of a task is a mistake in the task."""
    conf = {"task_annotations": {"bank.withdraw": {"lock_tll": 77}}}
    assert refusal(conf=conf) == "task bank.withdraw: unknown option lock_tll: did you mean lock_ttl?"


def test_the_environment_sets_defaults(monkeypatch):
    """`CELERY_LOCK_TTL` is the setting."""
    monkeypatch.setenv("CELERY_LOCK_TTL", "44")
    assert options_of(bank.task(withdraw)).ttl == 44.0


def test_django_settings_set_defaults():
    """`CELERY_LOCK_TTL` in a settings module read with a namespace is the setting."""
    app = Celery("bank", set_as_current=False)
    settings = types.SimpleNamespace(
        CELERY_LOCK_TTL=55, CELERY_LOCK_STORE="memory://dj", CELERY_LOCK_ON_CONTENTION="skip"
    )
    app.config_from_object(settings, namespace="CELERY")
    task = app.task(base=LockedTask, name="bank.withdraw")(withdraw)
    app.finalize()
    assert (options_of(task).ttl, options_of(task).on_contention) == (55.0, "skip")


# What is an option


def test_a_callable_option_is_not_taken_for_a_method():
    """A function given as `lock_key` or `lock_on_contention` stays as it is."""
    task = bank.task(
        withdraw, lock_key=lambda user_id, **_: f"shard:{user_id % 10}", lock_on_contention=lambda _: Requeue(1)
    )
    assert key_of(task, 42) == "shard:2"
    assert options_of(task).on_contention(None) == Requeue(1)


def test_a_static_method_is_a_callable_option():
    """In a class body a function is best a static method."""

    class Shard(LockedTask):
        @staticmethod
        def lock_key(user_id, **_):
            return f"shard:{user_id % 10}"

        @staticmethod
        def lock_on_contention(contention):
            return Skip(result=contention)

    task = bank.task(withdraw, base=Shard)
    assert key_of(task, 42) == "shard:2"
    assert options_of(task).on_contention("x") == Skip(result="x")


def test_a_method_called_lock_something_is_no_option():
    """A task's own methods and properties are its own business."""

    class Wallet(LockedTask):
        def lock_the_doors(self): ...

        @classmethod
        def lock_all_windows(cls): ...

        @property
        def lock_picture(self): ...

    assert declared(bank.task(withdraw, base=Wallet).__class__) == {}


def test_a_method_that_is_nearly_an_option_is_a_slip():
    """`lock_keys` as a method is probably meant to be `lock_key`."""

    class Wallet(LockedTask):
        @staticmethod
        def lock_keys(user_id): ...

    assert refusal(base=Wallet) == "task bank.withdraw: unknown option lock_keys: did you mean lock_key?"


# What a declaration opens


def test_a_plan_opens_no_store_before_its_first_job():
    """Declaring a task connects to nothing."""
    task = bank.task(withdraw)
    assert task._get_current_object()._plan._guard is None


def test_tasks_of_one_app_share_a_guard():
    """So that one keeper beats for all of them."""
    app = bank.app()
    one = app.task(base=LockedTask, name="one")(withdraw)
    two = app.task(base=LockedTask, name="two")(withdraw)
    app.finalize()
    assert one._get_current_object()._plan.guard is two._get_current_object()._plan.guard


def test_a_task_with_a_store_of_its_own_has_another_guard():
    """`lock_store="fast"` is another store."""
    conf = {"lock_stores": {"fast": "memory://fast-of-this-test"}}
    app = bank.app(**conf)
    one = app.task(base=LockedTask, name="one")(withdraw)
    two = app.task(base=LockedTask, name="two", lock_store="fast")(withdraw)
    app.finalize()
    assert one._get_current_object()._plan.guard is not two._get_current_object()._plan.guard


def test_the_store_of_many_tasks_is_opened_once_to_be_checked(monkeypatch):
    """A worker with hundreds of tasks starts no later for it; what settings say since is checked again."""
    opened = []
    plain = Locks.opened
    monkeypatch.setattr(Locks, "opened", lambda app, alias: opened.append(alias) or plain(app, alias))
    app = bank.app(lock_stores={"fast": "memory://fast"})
    for number in range(20):
        app.task(base=LockedTask, name=f"task {number}", shared=False)(withdraw)
    app.finalize()
    assert opened == [None]
    app.task(base=LockedTask, name="another", shared=False, lock_store="fast")(withdraw).bind(app)
    assert opened == [None, "fast"]
    app.conf.lock_store = "redsi://host"
    with pytest.raises(LockConfigError, match="did you mean redis://"):
        app.task(base=LockedTask, name="wrong", shared=False)(withdraw).bind(app)
