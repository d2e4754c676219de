"""What is set for beats, and what is said of a mistake in it when beat starts."""

from __future__ import annotations

import click
import pytest
from celery import Celery
from celery.beat import PersistentScheduler, Service
from celery.schedules import crontab

import celery_locks
from celery_locks.annotation import Refused
from celery_locks.beat import LockedScheduler
from celery_locks.beat.inner import InMemory
from celery_locks.beat.settings import BeatSettings
from tests.unit.beats import Beats


class Rival(InMemory):
    """redbeat's, as far as can be seen."""

    __module__ = "redbeat.schedulers"


@pytest.fixture
def app() -> Celery:
    app = Celery("bank", broker="memory://", set_as_current=False)
    app.conf.lock_store = "memory://beat-settings"
    return app


def test_defaults() -> None:
    """A ttl of 15 s, and four of them are caught up, whatever the ttl is."""
    assert BeatSettings.of({}) == BeatSettings(None, None, "beat-leader", 15.0, 60.0)
    assert BeatSettings.of({"lock_beat_ttl": 5}) == BeatSettings(ttl=5.0, catch_up=20.0)
    assert BeatSettings.of({"lock_beat_ttl": 5, "lock_beat_catch_up": 0}).catch_up == 0


def test_each_app_has_a_lead_of_its_own() -> None:
    """Two projects that share a Redis do not stand by for each other, unless they are told one key."""
    assert BeatSettings.of({}, "bank").key == "beat-leader:bank"
    assert BeatSettings.of({"lock_beat_key": "ours"}, "bank").key == "ours"


def test_settings_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As all other settings of locks."""
    monkeypatch.setenv("CELERY_LOCK_BEAT_TTL", "20")
    monkeypatch.setenv("CELERY_LOCK_BEAT_KEY", "7")
    assert BeatSettings.of({"lock_beat_ttl": 5}) == BeatSettings(key="7", ttl=20.0, catch_up=80.0)


def test_of_any_scheduler(app: Celery) -> None:
    """It is one over the class that is named, and by default over the entries of `beat_schedule`, Celery's own too."""
    app.conf.update(beat_schedule={"a": {"task": "t", "schedule": crontab()}}, result_backend="cache+memory://")
    plain = LockedScheduler(app)
    assert {*plain.schedule} >= {"a"}
    assert isinstance(plain, InMemory)
    app.conf.lock_beat_scheduler = "celery.beat:PersistentScheduler"
    lazy = Service(app, scheduler_cls="celery_locks.beat.LockedScheduler").get_scheduler(lazy=True)
    assert isinstance(lazy, PersistentScheduler)
    assert isinstance(lazy, LockedScheduler)
    assert "    . lead -> 'beat-leader:bank' for 15 s in " in lazy.info
    assert ". db -> celerybeat-schedule" in lazy.info


def test_celerys_own_entries_are_there() -> None:
    """That which removes old results, where a result backend does not itself."""
    beat = Beats().new()
    beat.app.conf.result_expires = 3600
    beat.setup_schedule()
    assert {*beat.schedule} == {"report", "celery.backend_cleanup"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"lock_beat_ttl": 0.1}, "a heartbeat cannot keep a ttl of 0.1 s"),
        ({"lock_beat_ttl": "soon"}, "lock_beat_ttl must be"),
        ({"lock_beat_catch_up": -1}, "lock_beat_catch_up must be"),
        ({"lock_beat_key": "beat:a"}, "lock_beat_key='beat:a' could be the key of an entry"),
        ({"lock_beat_key": ""}, "lock_beat_key must be a text"),
        ({"lock_beat_tll": 5}, "did you mean lock_beat_ttl?"),
        ({"lock_beat_scheduler": "no.such:Scheduler"}, "lock_beat_scheduler='no.such:Scheduler' cannot be imported"),
        ({"lock_beat_scheduler": "celery.beat:Service"}, "is to name the scheduler that has the entries"),
        ({"lock_beat_scheduler": "celery_locks.beat:LockedScheduler"}, "is to name the scheduler that has the entries"),
        ({"lock_beat_scheduler": "tests.unit.test_beat_settings:Rival"}, "redbeat has a lock of its own"),
        ({"lock_store": "file:///tmp/locks"}, "keeps no positions of a schedule"),
        ({"lock_beat_store": "no such"}, "neither a URL nor an alias"),
    ],
)
def test_a_mistake_stops_beat_with_one_line(app: Celery, settings, said: str) -> None:
    """Also when the scheduler is only made to be shown."""
    app.conf.update(settings)
    with pytest.raises(Refused) as caught:
        LockedScheduler(app, lazy=True)
    assert said in caught.value.message
    assert isinstance(caught.value, click.ClickException)


@pytest.mark.parametrize(
    ("broker", "options", "warned"),
    [
        ("amqp://nobody", {}, True),
        ("amqp://nobody", {"confirm_publish": True}, False),
        ("redis://nobody", {}, False),
    ],
)
def test_a_broker_that_does_not_confirm(
    caplog: pytest.LogCaptureFixture, broker: str, options, *, warned: bool
) -> None:
    """It is said when beat starts, and not when it is only shown: what is sent while such a broker dies is lost."""
    app = Celery("bank", broker=broker, set_as_current=False)
    app.conf.update(lock_store="memory://beat-settings", broker_transport_options=options)
    LockedScheduler(app, lazy=True)
    assert caplog.text == ""
    LockedScheduler(app)
    assert ("'confirm_publish': True" in caplog.text) is warned


def entry(app: Celery, **fields) -> LockedScheduler:
    app.conf.beat_schedule = {"report": {"task": "t", "schedule": 1.0, **fields}}
    return LockedScheduler(app)


@pytest.mark.parametrize(
    ("lock", "said"),
    [
        ("yes", "lock must be True or options"),
        ({"tll": 5}, "unknown option 'tll' of lock: known are countdown"),
        ({"ttl": 0.1}, "a heartbeat cannot keep a ttl of 0.1 s"),
        ({"on_contention": "wait"}, "is no policy"),
        ({"on_contention": lambda _: None}, "use 'skip', 'requeue' or 'fail'"),
        ({"on_outage": "run"}, "no job of a locked entry runs without its key"),
        ({"travel": -1}, "travel must be"),
        ({"store": "file:///tmp/locks"}, "cannot hand a lock over"),
    ],
)
def test_a_mistake_in_the_lock_of_an_entry(app: Celery, lock, said: str) -> None:
    """It is found when beat starts, and names the entry."""
    celery_locks.install(app)
    with pytest.raises(Refused) as caught:
        entry(app, lock=lock)
    assert said in caught.value.message
    assert "beat_schedule['report']" in caught.value.message


def test_workers_that_know_nothing_of_locks(app: Celery) -> None:
    """They would let the runs overlap."""
    with pytest.raises(Refused, match=r"call celery_locks\.install\(app\)"):
        entry(app, lock=True)


def test_an_entry_without_a_lock(app: Celery) -> None:
    """False is as good as nothing, and needs nothing of the workers."""
    assert entry(app, lock=False)._locks == {}
    assert entry(app)._locks == {}
