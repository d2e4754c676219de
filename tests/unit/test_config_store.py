"""Which store the settings name, what they tell it, and which locks an app has of it."""

from __future__ import annotations

import json

import pytest
from celery import current_app

from celery_locks import LockConfigError, Locks
from celery_locks.config import store_settings
from tests.unit.configured import app, django_app, store_url


def test_a_store_named_by_url_is_taken():
    """`lock_store` wins over the broker."""
    assert store_url(lock_store="memory://named", broker_url="redis://broker") == "memory://named"


def test_a_store_named_in_the_environment_is_taken(monkeypatch):
    """`CELERY_LOCK_STORE` wins over `app.conf.lock_store`."""
    monkeypatch.setenv("CELERY_LOCK_STORE", "memory://env")
    assert store_url(lock_store="memory://conf") == "memory://env"


def test_the_prefix_is_a_setting():
    """`lock_prefix` names what all names in the store begin with; by default `lock:`."""
    assert store_settings({"lock_store": "memory://"}).prefix == "lock:"
    assert store_settings({"lock_store": "memory://", "lock_prefix": "bank:"}).prefix == "bank:"


def test_an_empty_prefix_is_a_prefix():
    """None is the default, an empty text is none."""
    assert store_settings({"lock_store": "memory://", "lock_prefix": ""}).prefix == ""


def test_an_alias_is_looked_up():
    """A task names its store by an alias in `lock_stores`."""
    conf = {"lock_store": "memory://app", "lock_stores": {"fast": "memory://fast"}}
    assert store_settings(conf, "fast").url == "memory://fast"


def test_the_apps_own_store_may_be_an_alias():
    """`lock_store` is looked up in `lock_stores` as well."""
    assert store_settings({"lock_store": "fast", "lock_stores": {"fast": "memory://fast"}}).url == "memory://fast"


def test_aliases_may_come_from_the_environment(monkeypatch):
    """As JSON."""
    monkeypatch.setenv("CELERY_LOCK_STORES", json.dumps({"fast": "memory://fast"}))
    assert store_settings({}, "fast").url == "memory://fast"


def test_a_task_may_name_a_url():
    """Where an alias is expected a URL does as well."""
    assert store_settings({}, "memory://other").url == "memory://other"


REDLOCK = "redlock://a,b,c"


DELAYS = {
    "app": lambda: app(lock_store=REDLOCK, lock_restart_delay=60),
    "django": lambda: django_app(CELERY_LOCK_STORE=REDLOCK, CELERY_LOCK_RESTART_DELAY=60),
}


@pytest.mark.parametrize("make", DELAYS.values(), ids=DELAYS)
def test_the_restart_delay_is_a_setting_of_redlock(make):
    """`lock_restart_delay` reaches the store itself."""
    assert store_settings(make().conf).options == {"restart_delay": 60}
    assert Locks.from_app(make()).store._rings._address.seconds["restart_delay"] == 60


def test_the_restart_delay_may_come_from_the_environment(monkeypatch):
    """And reaches a store that is named by its alias, whatever its scheme's letters."""
    monkeypatch.setenv("CELERY_LOCK_RESTART_DELAY", "45")
    assert store_settings({"lock_stores": {"safe": "REDLOCKS://a,b,c"}}, "safe").options == {"restart_delay": 45}


def test_a_urls_own_restart_delay_counts():
    """What is said of one store is stronger than what is said of all."""
    made = app(lock_store=f"{REDLOCK}?restart_delay=30", lock_restart_delay=60)
    assert Locks.from_app(made).store._rings._address.seconds["restart_delay"] == 30


def test_other_stores_know_no_restart_delay():
    """An app may have stores of several kinds: the others are opened as ever."""
    made = app(lock_store="memory://", lock_restart_delay=60)
    assert store_settings(made.conf).options == {}
    Locks.from_app(made)


def test_a_wrong_restart_delay_is_refused():
    """By the name of the setting."""
    with pytest.raises(LockConfigError, match="the settings: lock_restart_delay must be a number of seconds"):
        Locks.from_app(app(lock_store=REDLOCK, lock_restart_delay="soon"))


NO_SETTINGS = {
    "lock_restart_dealy": "did you mean lock_restart_delay?",
    "lock_tll": "did you mean lock_ttl?",
    "lock_fence_retention": "write it into the store's URL, ?fence_retention=...",
    "CELERY_LOCK_SOCKET_TIMEOUT": "write it into the store's URL, ?socket_timeout=...",
}


@pytest.mark.parametrize("name", NO_SETTINGS)
def test_a_setting_that_is_none_is_told_where_a_store_is_opened(name):
    """Accepted in silence it would protect nothing."""
    with pytest.raises(LockConfigError) as caught:
        Locks.from_app(app(lock_store="memory://", **{name: 60}))
    assert str(caught.value) == f"unknown setting {name}: {NO_SETTINGS[name]}"


def test_a_setting_like_none_of_ours_may_be_somebody_elses():
    """Nothing is said of it."""
    Locks.from_app(app(lock_store="memory://", lock_timeout=60, lock_expires=60, lock_backend="x"))


REFUSED = [
    ({}, "fast", "lock_store 'fast' is neither a URL nor an alias in lock_stores (known: none)"),
    (
        {"lock_stores": {"slow": "memory://", "cold": "memory://"}},
        "fast",
        "lock_store 'fast' is neither a URL nor an alias in lock_stores (known: 'slow', 'cold')",
    ),
    ({"lock_stores": ["memory://"]}, "fast", "lock_stores must map each alias to a URL, not be a list"),
    ({"lock_stores": {"fast": 7}}, "fast", "lock_stores['fast'] must be a text, not 7"),
    ({"lock_store": 7}, None, "lock_store must be a text, not 7"),
    ({"lock_store": "memory://", "lock_prefix": 7}, None, "lock_prefix must be a text, not 7"),
]


@pytest.mark.parametrize(("conf", "alias", "says"), REFUSED, ids=[each[2][:30] for each in REFUSED])
def test_a_wrong_store_setting_is_refused(conf, alias, says):
    """One line: which setting, what is wrong, what would do."""
    with pytest.raises(LockConfigError) as caught:
        store_settings(conf, alias)
    assert str(caught.value) == says


def test_a_password_is_not_shown_in_a_refusal():
    """A URL in the wrong place is named without its password."""
    with pytest.raises(LockConfigError) as caught:
        store_settings({"lock_stores": {"fast": ["redis://me:secret@host"]}}, "fast")
    assert "secret" not in str(caught.value)


# Locks.from_app


def test_an_app_has_one_set_of_locks():
    """All tasks of an app share one store object, so one connection."""
    made = app(lock_store="memory://")
    assert Locks.from_app(made) is Locks.from_app(made)


def test_the_current_app_has_the_locks_of_its_app():
    """`celery.current_app` stands for the app: the same locks, and another app's when that becomes current."""
    one, other = app(lock_store="memory://one"), app(lock_store="memory://other")
    before = current_app._get_current_object()
    try:
        for made in (one, other, one):
            made.set_current()
            assert Locks.from_app(current_app) is Locks.from_app(made)
    finally:
        before.set_current()


def test_two_apps_do_not_share_their_locks():
    """A second app in the process gets its own settings, not the first one's."""
    one, other = app(lock_store="memory://one"), app(lock_store="memory://other", lock_prefix="bank:")
    assert Locks.from_app(one) is not Locks.from_app(other)
    assert Locks.from_app(other).store.prefix == "bank:"


def test_an_alias_has_locks_of_its_own():
    """The store an alias names is another one than the app's."""
    made = app(lock_store="memory://one", lock_stores={"fast": "memory://fast"})
    assert Locks.from_app(made, "fast") is Locks.from_app(made, "fast")
    assert Locks.from_app(made, "fast") is not Locks.from_app(made)
