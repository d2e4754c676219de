"""How a task is declared, where its options may come from, and what a wrong declaration says."""

from __future__ import annotations

import types

import pytest
from celery import Celery, shared_task

from celery_locks import LockConfigError, LockedTask, Requeue, Skip
from celery_locks.plan import declared
from tests.unit import bank


def withdraw(user_id, amount=10): ...


def options_of(task):
    """What the declaration of a task came to."""
    return task._get_current_object()._plan.options if hasattr(task, "_get_current_object") else task._plan.options


def key_of(task, *args, **kwargs):
    made = task._get_current_object() if hasattr(task, "_get_current_object") else task
    return made._plan.key(args, kwargs)


def refusal(**options: object) -> str:
    with pytest.raises(LockConfigError) as caught:
        bank.task(withdraw, **options)
    assert "\n" not in caught.value.message
    return caught.value.message


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


# What may be a task


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
    assert app.tasks["bank.shared"]._plan.key((42,), {}) == "wallet:42"
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


# Mistakes


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"lock_tll": 10}, "task bank.withdraw: unknown option lock_tll: did you mean lock_ttl?"),
        ({"lock_ttl": 0}, "task bank.withdraw: lock_ttl must be a number of seconds above 0, not 0"),
        (
            {"lock_key": "wallet:{user}"},
            (
                "task bank.withdraw: lock_key 'wallet:{user}' names {user}, which the task does not take:"
                " did you mean {user_id}?"
            ),
        ),
        (
            {"lock_ttl": 0.1},
            (
                "task bank.withdraw: a heartbeat cannot keep a ttl of 0.1 s: take at least 0.15 s,"
                " or switch it off with heartbeat=False"
            ),
        ),
        (
            {"lock_key": ["a", "b"]},
            "task bank.withdraw: lock_key is a list, ['a', 'b']; this version locks one key a task: write one template",
        ),
    ],
    ids=["unknown", "value", "template", "heartbeat", "list"],
)
def test_a_mistake_is_found_when_the_task_is_declared(options, says):
    """Before there is a job, with the task's name and the mend."""
    assert refusal(**options) == says


def test_a_mistake_in_the_settings_is_blamed_on_the_settings():
    """And not on the first task that meets it."""
    assert (
        refusal(conf={"lock_ttl": "long"}) == "the settings: lock_ttl must be a number of seconds above 0, not 'long'"
    )


def test_an_unknown_alias_is_found_when_the_task_is_declared():
    """A store that is not in `lock_stores` is no store."""
    assert "lock_store 'fast' is neither a URL nor an alias in lock_stores" in refusal(lock_store="fast")


@pytest.mark.parametrize(
    ("conf", "says"),
    [
        (
            {"lock_store": "redis+sentinel://one:26379"},
            "lock_store: 'redis+sentinel://one:26379' must name hosts and the master",
        ),
        (
            {"lock_store": "fast", "lock_stores": {"fast": "redis+sentinel://one:26379/0"}},
            "lock_store: 'redis+sentinel://one:26379/0' must name hosts and the master",
        ),
        ({"broker_url": "sentinel://one:26379"}, "broker_transport_options names no master_name"),
        ({"result_backend": "sentinel://one:26379"}, "result_backend_transport_options names no master_name"),
        ({"broker_url": "redis://one/0?tll=9"}, "lock_store (not set, so taken from broker_url): 'redis://one/0' has"),
        ({"result_backend": "redis://one/x"}, "lock_store (not set, so taken from result_backend): 'redis://one/x': "),
    ],
)
def test_a_wrong_store_is_found_when_the_task_is_declared(conf, says):
    """Also one that is not named as a store, but is the broker or the result backend."""
    assert says in refusal(conf={"lock_store": None, **conf})


def test_a_wrong_store_of_one_task_is_found_when_it_is_declared():
    """An alias is looked up, and what it stands for is checked."""
    conf = {"lock_stores": {"fast": "redis+sentinel://one:26379"}}
    assert "must name hosts and the master" in refusal(conf=conf, lock_store="fast")


def test_declaring_a_task_without_a_store_warns_of_nothing():
    """Files on this machine are found when the first job needs them: a process that only sends jobs needs none."""
    assert options_of(bank.task(withdraw, conf={"lock_store": None})).store is None


def test_an_unknown_option_is_an_error():
    """A slip of the pen is found, with what may have been meant."""
    assert "unknown option lock_tll: did you mean lock_ttl?" in refusal(lock_tll=1)


@pytest.mark.parametrize("option", ["lock_fair", "lock_slots", "lock_shared", "lock_unique", "lock_at_least"])
def test_an_option_of_another_version_is_an_error(option):
    """An option that does nothing here must not be believed to do something."""
    assert f"the option {option} is not supported in this version" in refusal(**{option: 1})


def test_a_requeue_without_a_sensible_delay_is_an_error():
    """Found when the task is declared, not when its first job meets a taken key."""
    assert "on_contention=Requeue(delay) must be a number of seconds" in refusal(lock_on_contention=Requeue(-5))


def test_a_refused_task_never_runs_unlocked(room):
    """Finalizing the app raises, and so does every call: the body is never reached."""
    app = bank.app(room)
    ran = []

    @app.task(base=LockedTask, name="bank.withdraw", lock_key="wallet:{user}", shared=False)
    def task(user_id):
        ran.append(user_id)

    with pytest.raises(LockConfigError):
        app.finalize()
    for call in (lambda: task(1), lambda: task.apply((1,)).get(), lambda: task.apply((1,), throw=True)):
        with pytest.raises(LockConfigError, match=r"did you mean {user_id}"):
            call()
    assert ran == []


def test_a_refused_heir_does_not_run_under_its_bases_lock(room):
    """The plan of the task it inherits from is not its own."""

    class Withdraw(LockedTask):
        name = "bank.withdraw"
        lock_key = "wallet:{user_id}"

        def run(self, user_id):
            return room.holder(f"wallet:{user_id}")

    class Refund(Withdraw):
        name = "bank.refund"
        lock_key = "refund:{user}"

    app = bank.app(room)
    app.register_task(Withdraw())
    refund = Refund()
    with pytest.raises(LockConfigError):
        app.register_task(refund)
    with pytest.raises(LockConfigError):
        refund(42)


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
