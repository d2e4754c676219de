"""Tasks that know nothing of locks, locked by `app.conf.lock_tasks`."""

# ruff: noqa: ARG001 - the body of a task takes what it is locked on

from __future__ import annotations

import pickle
from typing import Any

import pytest
from celery import Task, shared_task

import celery_locks
from celery_locks import LockConfigError, LockTimeout, Skip
from celery_locks.worker import LockedRequest
from tests.unit import bank
from tests.unit.configured import django_app

BY_USER = {"bank.*": {"key": "wallet:{user_id}"}}


def installed(room: Any = None, lock_tasks: Any = BY_USER, **conf: Any) -> Any:
    """An app that locks these."""
    app = bank.app(room, lock_tasks=lock_tasks, **conf)
    celery_locks.install(app)
    return app


@pytest.fixture
def holder(room):
    """A body that gives who holds the wallet."""

    def show(user_id):
        return room.holder(f"wallet:{user_id}")

    return show


def made(app: Any, function: Any, name: str = "bank.show", **options: Any) -> Any:
    """A plain task, bound to its app."""
    task = app.task(function, name=name, shared=False, **options)
    app.finalize()
    return app.tasks[task.name]


def one():
    return 1


def of_user(user_id):
    return user_id


# What is locked


def test_a_plain_task_is_locked(room, holder):
    """Called directly or eagerly it holds its key while it runs, and its class is what it was."""
    app = installed(room)
    task = made(app, holder)
    assert task(42).startswith("bank.show@")
    assert task.apply((42,)).get().startswith("bank.show[")
    assert room.holder() is None
    assert type(task).__mro__[1:] == app.Task.__mro__
    assert app.tasks["bank.show"] is task


def test_a_taken_key_is_respected(room, holder):
    """As in a `LockedTask`: `LockTimeout` for a direct call, and a skipped eager job is revoked."""
    app = installed(room, {"bank.*": {"key": "wallet:{user_id}", "lock_on_contention": "skip"}})
    task = made(app, holder)
    room.take()
    with pytest.raises(LockTimeout):
        task(42)
    assert task.apply((42,)).state == "REVOKED"


def test_a_shared_task_is_locked(room, holder):
    """Each app makes one of its own of it."""
    proxy = shared_task(holder, name="bank.shared")
    app = installed(room)
    app.finalize()
    assert app.tasks[proxy.name](42).startswith("bank.shared@")


@pytest.mark.parametrize("name", ["bank.by_class", None])
def test_a_task_written_as_a_class_is_locked(room, holder, name):
    """With a name or without one: Celery gives that to the object only."""
    task_name, by = name, holder

    class ByClass(Task):
        name = task_name

        def run(self, user_id):
            return by(user_id)

    app = installed(room, {"*ByClass": BY_USER["bank.*"], **BY_USER})
    task = app.register_task(ByClass())
    assert type(task) is ByClass
    assert task(42).startswith(task.name)


def test_tasks_of_one_class_are_told_apart(room, holder):
    """By their names, though Celery binds their class once."""

    class Generic(Task):
        def __init__(self, name):
            self.name = name

        def run(self, user_id):
            return holder(user_id)

    app = installed(room)
    first, second, third = (app.register_task(Generic(name)) for name in ("shop.a", "bank.b", "bank.c"))
    assert first(42) is None
    assert second(42).startswith("bank.b@")
    assert third(42).startswith("bank.c@")


def test_a_task_that_derives_from_a_locked_one(room, holder):
    """It is not locked with it; and locked itself it takes its key once."""

    class Base(Task):
        name = "bank.base"

        def run(self, user_id):
            return holder(user_id)

    class Heir(Base):
        name = "shop.heir"

    class LockedHeir(Base):
        name = "bank.heir"

        def __call__(self, *args):
            return super().__call__(*args)

    app = installed(room)
    base, heir, locked = (app.register_task(cls()) for cls in (Base, Heir, LockedHeir))
    assert base(42).startswith("bank.base@")
    assert heir(42) is None
    assert locked(42).startswith("bank.heir@")


def test_a_call_of_the_users_own_runs_under_the_lock(room, holder):
    """That of a base class, with what it does before and after."""
    seen = []

    class Noting(Task):
        abstract = True

        def __call__(self, user_id):
            seen.append(holder(user_id))
            return super().__call__(user_id)

    task = made(installed(room), holder, base=Noting)
    held = task(42)
    assert seen == [held]
    assert isinstance(task, Noting)
    assert task.apply((42,)).get().startswith("bank.show[")


def test_a_bound_task_has_its_lease(room):
    """As `self.lease`, unless that is a thing of its own."""

    def show(self, user_id):
        return self.lease.key if hasattr(self.lease, "key") else self.lease

    class Leased(Task):
        abstract = True
        lease = "of a flat"

    app = installed(room)
    assert made(app, show, bind=True)(42) == "wallet:42"
    assert made(app, show, "bank.leased", bind=True, base=Leased)(42) == "of a flat"


def test_autoretry_is_kept(room):
    """What the body raises goes through it, under the lock; the key is made of the body's own arguments."""
    held = []

    def fails(user_id):
        held.append(room.holder(f"wallet:{user_id}"))
        raise ZeroDivisionError

    task = made(installed(room), fails, autoretry_for=(ZeroDivisionError,), max_retries=2, default_retry_delay=0)
    assert task.apply((42,)).state == "FAILURE"
    assert len(held) == 3
    assert len(set(held)) == 3
    assert room.holder() is None


def test_its_messages_are_ours_and_theirs(holder):
    """The worker's parts know them, and a request class of the user's own is kept."""

    class Theirs(celery_locks.worker.request.Request):
        pass

    app = installed()
    assert made(app, holder).Request == "celery_locks.worker:LockedRequest"
    own = made(app, holder, "bank.own", Request=Theirs).Request
    named = made(app, holder, "bank.named", Request="celery.worker.request:Request").Request
    assert issubclass(own, Theirs)
    assert own.__mro__[1] is LockedRequest
    assert named == "celery_locks.worker:LockedRequest"
    assert made(app, holder, "bank.ours", Request=LockedRequest).Request is LockedRequest


def test_celerys_own_tasks_are_never_matched(room):
    """By a glob such as `*`; to name one is a mistake."""
    app = installed(room, {"*": {"key": "all"}})
    app.finalize()
    assert not [name for name, task in app.tasks.items() if getattr(task, "_plan", None)]
    app = installed(room, {"celery.chord_unlock": {}})
    with pytest.raises(LockConfigError, match=r"lock_tasks\['celery.chord_unlock'\] names a task of Celery's own"):
        app.finalize()


# In which order things are done


def test_a_task_that_was_bound_before(room, holder):
    """It is locked when `install` is called, and again when that is called after the setting was made."""
    app = bank.app(room)
    task = made(app, holder)
    celery_locks.install(app)
    assert task(42) is None
    app.conf.lock_tasks = BY_USER
    celery_locks.install(app)
    assert task(42).startswith("bank.show@")
    app.conf.lock_tasks = {}
    celery_locks.install(app)
    assert task(42) is None


def test_nothing_is_read_of_an_app_that_is_not_configured():
    """`install` may come before the settings: they are read when the first task is bound."""
    app = bank.Celery("later", set_as_current=False)
    celery_locks.install(app)
    assert not app.configured
    app.config_from_object({"lock_tasks": BY_USER, "lock_store": "memory://later"})
    assert made(app, of_user)._plan


def test_the_first_locked_task_installs_it(room, holder):
    """For plain tasks bound before and after it."""
    app = bank.app(room, lock_tasks=BY_USER)
    before = made(app, holder, "bank.before")
    made(app, holder, "shop.any", base=celery_locks.LockedTask)
    after = made(app, holder, "bank.after")
    assert before(42).startswith("bank.before@")
    assert after(42).startswith("bank.after@")


def test_a_copy_of_an_app_is_installed_too(holder):
    """As a pool that is spawned makes one, by pickling."""
    copy = pickle.loads(pickle.dumps(installed()))  # noqa: S301 - made just now
    assert made(copy, holder)._plan.options.key == "wallet:{user_id}"


def test_the_apps_own_annotations_still_apply(room, holder):
    """And those for lock options have the last word."""
    app = installed(room, task_annotations={"bank.show": {"rate_limit": "1/s", "lock_ttl": 7.0}, "*": {"priority": 3}})
    task = made(app, holder)
    assert (task.rate_limit, task.priority) == ("1/s", 3)
    assert task._plan.options.ttl == 7.0


# Which options it has


@pytest.mark.parametrize(
    ("name", "ttl"), [("a.b.cde", 1.0), ("a.b.cd", 2.0), ("a.b.x", 3.0), ("a.b.xy", 4.0), ("z", 30.0), ("a.free", None)]
)
def test_the_one_that_says_most_applies(name, ttl):
    """An exact name, else the glob with the most characters of its own, then that with fewer stars."""
    said = {"a.*": 5, "a.b.*": 4, "a.b.?": 3, "a.b.c*": 2, "a.b.cde": 1}
    lock_tasks = {"*": {}, **{pattern: {"ttl": ttl} for pattern, ttl in said.items()}, "a.free": None}
    task = made(installed(lock_tasks=lock_tasks), one, name)
    plan = getattr(task, "_plan", None)
    assert (plan.options.ttl if plan else None) == ttl


def test_of_two_that_say_as_much_the_first_applies():
    """As they are written."""
    task = made(installed(lock_tasks={"bank.*": {"ttl": 1}, "*.show": {"ttl": 2}}), one)
    assert task._plan.options.ttl == 1.0


def test_a_locked_tasks_own_options():
    """A glob fills in what they leave open; its exact name wins over them."""
    lock_tasks = {"bank.*": {"ttl": 60, "wait": 3}, "bank.exact": {"ttl": 60, "wait": 3}}
    app = installed(lock_tasks=lock_tasks)
    by_glob, by_name = (
        made(app, one, name, base=celery_locks.LockedTask, lock_ttl=10)._plan.options
        for name in ("bank.glob", "bank.exact")
    )
    assert (by_glob.ttl, by_glob.wait) == (10.0, 3.0)
    assert (by_name.ttl, by_name.wait) == (60.0, 3.0)


def test_attributes_of_a_plain_task_are_none_of_ours():
    """It knows nothing of us: what it calls lock_key is its own."""
    assert made(installed(), of_user, lock_key="of a door", lock_smith="Bob")._plan.options.key != "of a door"


def test_settings_are_the_defaults(room):
    """As for a `LockedTask`; and a value may be what no text can say."""
    app = installed(room, {"bank.show": {"on_contention": Skip(result=2)}}, lock_ttl=7)
    task = made(app, one)
    assert task._plan.options.ttl == 7.0
    room.take("bank.show")
    assert task() == 2


def test_in_the_environment_it_is_json(monkeypatch):
    """`CELERY_LOCK_TASKS`."""
    monkeypatch.setenv("CELERY_LOCK_TASKS", '{"bank.*": {"ttl": 7}}')
    assert made(installed(lock_tasks={"bank.*": {"ttl": 1}}), one)._plan.options.ttl == 7.0


def test_in_django_it_has_its_prefix():
    """`CELERY_LOCK_TASKS` in the settings module."""
    app = django_app(CELERY_LOCK_TASKS={"bank.*": {"ttl": 7}}, CELERY_LOCK_STORE="memory://django")
    celery_locks.install(app)
    assert made(app, one)._plan.options.ttl == 7.0


# Mistakes


@pytest.mark.parametrize(
    ("lock_tasks", "said"),
    [
        (["bank.*"], "lock_tasks must map names of tasks to their options, not be .*: write"),
        ("{bank: 1}", "lock_tasks must map names of tasks to their options"),
        ({"bank.*": 60}, r"lock_tasks\['bank\.\*'\] must be options such as"),
        ({"": {}}, "'' is no name of a task"),
        ({5: {}}, "5 is no name of a task"),
        ({"bank.*": {"tll": 5}}, r"lock_tasks\['bank\.\*'\]: unknown option lock_tll: did you mean lock_ttl"),
        ({"other": {"stores": {}}}, r"lock_tasks\['other'\]: lock_stores is a setting and no option"),
        ({"bank.*": {"ttl": -5}}, r"task bank.show: lock_ttl must be .*, not -5 \(see lock_tasks\['bank\.\*'\]\)"),
        ({"bank.*": {"key": "{user}"}}, r"did you mean {user_id}\?.* \(see lock_tasks\['bank\.\*'\]\)"),
        ({"bank.*": {"store": "nowhere"}}, r"neither a URL nor an alias.* \(see lock_tasks"),
    ],
)
def test_a_mistake_is_found_when_the_task_is_bound(holder, lock_tasks, said):
    """It says which pattern, and what to mend; and the task never runs unlocked."""
    app = installed(lock_tasks=lock_tasks)
    task = app.task(holder, name="bank.show", shared=False)
    with pytest.raises(LockConfigError, match=said):
        app.finalize()
    if isinstance(lock_tasks, dict) and "bank.*" in lock_tasks:
        for call in (lambda: task(42), lambda: task.apply((42,)).get(), lambda: task.apply((42,), throw=True)):
            with pytest.raises(LockConfigError):
                call()


def test_a_slip_in_the_settings_name_is_found():
    """`lock_task` locks nothing, and says so."""
    with pytest.raises(LockConfigError, match="did you mean lock_tasks"):
        made(installed(lock_task={}, lock_tasks=BY_USER), of_user)


def test_what_matches_nothing_is_told_when_a_worker_starts(caplog):
    """With what may have been meant. A task that is bound late, or whose setting came late, is locked by then."""
    lock_tasks = {"bank.shwo": {}, "bank.*": {"key": "k"}, "celery.*": {}, "shop.*": {}}
    app = bank.app()
    task = made(app, one)
    celery_locks.install(app)
    app.conf.lock_tasks = lock_tasks
    celery_locks.annotation.lock_all(app)
    assert [record.args[0] for record in caplog.records] == ["bank.shwo", "celery.*", "shop.*"]
    assert "matches no task of this worker, and locks nothing: did you mean 'bank.show'?" in caplog.text
    assert task._plan.options.key == "k"


def test_a_locked_task_is_planned_again_for_a_late_setting():
    """And not without one: its plan keeps its store."""
    app = installed(lock_tasks=None)
    task = made(app, one, base=celery_locks.LockedTask)
    plan = task._plan
    celery_locks.annotation.lock_all(app)
    assert task._plan is plan
    app.conf.lock_tasks = {"bank.show": {"ttl": 7}}
    celery_locks.annotation.lock_all(app)
    assert task._plan.options.ttl == 7.0


def test_a_task_may_send_itself_in_a_way_of_its_own(room):
    """Its own apply_async, that takes fewer arguments by position, is given what it was given."""

    class Base(Task):
        abstract = True

        def apply_async(self, args=None, kwargs=None, **options):
            return args, kwargs, options

    task = made(installed(room), of_user, base=Base)
    assert task.delay(7) == ((7,), {}, {})
    assert task.apply_async((7,), task_id="mine") == ((7,), None, {"task_id": "mine"})
