"""What is said of a declaration that is wrong, and when."""

from __future__ import annotations

import pytest

from celery_locks import LockConfigError, LockedTask, Requeue
from tests.unit import bank
from tests.unit.bank import options_of, refusal, withdraw


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
            {"lock_key": ["wallet:{user_id}", 7]},
            ("task bank.withdraw: lock_key[1] is 7, and each in a list must be a template such as 'wallet:{user_id}'"),
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
