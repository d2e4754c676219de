"""Settings: from an app, Django or the environment to option defaults."""

from __future__ import annotations

import pytest

from celery_locks import config
from celery_locks.config import defaults, setting, store_settings
from tests.unit.configured import app, django_app


def test_a_setting_is_read_from_the_app():
    """`app.conf.lock_ttl` is the default of `lock_ttl`."""
    assert setting(app(lock_ttl=10).conf, "lock_ttl") == 10


def test_a_setting_nobody_made_is_none():
    """Nothing is the default of a default."""
    assert setting(app().conf, "lock_ttl") is None


def test_a_plain_mapping_is_a_configuration():
    """Anything with `get` is."""
    assert setting({"lock_ttl": 10}, "lock_ttl") == 10


def test_django_settings_are_read():
    """`CELERY_LOCK_TTL` in a Django settings module is `lock_ttl`."""
    conf = django_app(CELERY_LOCK_TTL=10, CELERY_LOCK_STORE="memory://d").conf
    assert defaults(conf) == {"lock_ttl": 10}
    assert store_settings(conf).url == "memory://d"


def test_settings_of_others_in_a_django_module_are_left_alone():
    """Without the namespace it is somebody else's setting."""
    assert defaults(django_app(LOCK_TTL=10).conf) == {}


def test_the_environment_is_read():
    """`CELERY_LOCK_TTL=10` in the environment is `lock_ttl`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CELERY_LOCK_TTL", "10")
        assert defaults(app().conf) == {"lock_ttl": 10}


@pytest.mark.parametrize(
    "make", [lambda: app(lock_ttl=20), lambda: django_app(CELERY_LOCK_TTL=20)], ids=["app", "django"]
)
def test_the_environment_is_stronger_than_the_app(monkeypatch, make):
    """An operator can change a setting without a deployment."""
    monkeypatch.setenv("CELERY_LOCK_TTL", "10")
    assert setting(make().conf, "lock_ttl") == 10


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("10", 10),
        ("0.5", 0.5),
        ("true", True),
        ("True", True),
        (" yes ", True),
        ("on", True),
        ("false", False),
        ("False", False),
        ("no", False),
        ("off", False),
        ("none", None),
        ("null", None),
        ("skip", "skip"),
        ('"skip"', "skip"),
        ('{"fast": "memory://"}', {"fast": "memory://"}),
        ("{not json", "{not json"),
    ],
)
def test_a_text_from_the_environment_becomes_a_value(monkeypatch, text, value):
    """JSON where it reads as JSON, a yes or no in words, else the text."""
    monkeypatch.setenv("CELERY_LOCK_WAIT", text)
    assert setting({}, "lock_wait") == value
    assert type(setting({}, "lock_wait")) is type(value)


@pytest.mark.parametrize(
    "name",
    [
        "lock_store",
        "lock_prefix",
        "lock_key",
    ],
)
@pytest.mark.parametrize("text", ["7", "on", "null", '"x"'])
def test_a_name_from_the_environment_stays_a_text(monkeypatch, name, text):
    """A prefix of `7` or a store called `on` is not made a number or a yes."""
    monkeypatch.setenv(f"CELERY_{name.upper()}", text)
    assert setting({}, name) == text


def test_none_in_the_environment_takes_a_setting_back(monkeypatch):
    """`none` means the option's own default again."""
    monkeypatch.setenv("CELERY_LOCK_MAX_WAIT", "none")
    assert defaults(app(lock_max_wait=60).conf) == {}


def test_every_option_but_the_tasks_own_has_a_default_setting():
    """All options can be set for all tasks, but which store: that is a setting of its own."""
    names = set(config.NAMES) - {"lock_store"}
    assert set(defaults({**dict.fromkeys(names, "x"), "lock_store": "memory://"})) == names


def test_a_false_default_is_a_default():
    """Only what is not set is left out."""
    assert defaults({"lock_heartbeat": False, "lock_wait": 0}) == {"lock_heartbeat": False, "lock_wait": 0}
