"""The store of an app that names none: its broker or result backend, or files."""

from __future__ import annotations

import warnings

import pytest
from celery import Celery

from celery_locks import LockConfigError
from celery_locks.config import store_settings
from tests.unit.configured import app, django_app, store_url


@pytest.mark.parametrize("scheme", ["redis", "rediss", "valkey", "valkeys", "redis+socket"])
def test_a_redis_broker_is_the_store(scheme):
    """An app whose broker is Redis or Valkey needs no setting."""
    assert store_url(broker_url=f"{scheme}://me:pw@host:7000/3") == f"{scheme}://me:pw@host:7000/3"


def test_a_redis_broker_given_to_the_app_is_the_store():
    """`Celery("bank", broker=...)` is the same setting."""
    made = Celery("bank", broker="redis://host/2", set_as_current=False)
    assert store_settings(made.conf).url == "redis://host/2"


def test_a_redis_backend_is_the_store_where_the_broker_is_none():
    """With RabbitMQ as broker the result backend serves."""
    assert store_url(broker_url="amqp://host", result_backend="redis://results/1") == "redis://results/1"


def test_the_broker_is_preferred_to_the_backend():
    """Locks live where the queue lives."""
    assert store_url(broker_url="redis://broker", result_backend="redis://results") == "redis://broker"


def test_a_redis_broker_of_a_django_project_is_the_store():
    """`CELERY_BROKER_URL` is a broker as any."""
    assert store_settings(django_app(CELERY_BROKER_URL="redis://dj/1").conf).url == "redis://dj/1"


def test_of_several_brokers_the_first_keeps_the_locks():
    """Brokers that stand in for each other must not each have locks of their own."""
    assert store_url(broker_url="redis://one/0;redis://two/0") == "redis://one/0"


def test_a_semicolon_in_a_password_parts_no_brokers():
    """Only one before another URL does: half of a password would be taken for a host."""
    assert store_url(broker_url="redis://:a;b@one/0;redis://two/0") == "redis://:a;b@one/0"


def test_a_list_of_brokers_is_several_brokers():
    """Celery takes a list as well."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert store_url(broker_url=["redis://one/0", "redis://two/0"]) == "redis://one/0"


def test_the_brokers_tls_settings_are_the_stores():
    """`broker_use_ssl` of a rediss:// broker goes with it."""
    tls = {"ssl_ca_certs": "/etc/ca.pem", "ssl_cert_reqs": "required"}
    made = store_settings(app(broker_url="rediss://host", broker_use_ssl=tls).conf)
    assert (made.url, made.options) == ("rediss://host", tls)


def test_the_backends_tls_settings_are_the_stores():
    """`redis_backend_use_ssl` of a rediss:// backend goes with it, and the broker's does not."""
    tls = {"ssl_ca_certs": "/etc/ca.pem"}
    conf = {
        "broker_url": "amqp://host",
        "broker_use_ssl": {"keyfile": "/etc/amqp.pem"},
        "result_backend": "rediss://results",
        "redis_backend_use_ssl": tls,
    }
    made = store_settings(app(**conf).conf)
    assert (made.url, made.options) == ("rediss://results", tls)


def test_tls_settings_make_a_plain_url_a_tls_one():
    """Celery speaks TLS to redis:// when `broker_use_ssl` says so: the store must as well."""
    made = store_settings(app(broker_url="redis://host", broker_use_ssl={"ssl_cert_reqs": "none"}).conf)
    assert made.url.startswith("rediss://")


def test_tls_without_settings_has_none():
    """`broker_use_ssl=True` names nothing."""
    assert store_settings(app(broker_url="rediss://host", broker_use_ssl=True).conf).options == {}


def test_a_sentinel_broker_is_the_store():
    """Celery's several URLs and `master_name` become the one URL of a store."""
    url = store_url(
        broker_url="sentinel://me:pw@one:26379/2;sentinel://two:26380/2;sentinel://:pw@three",
        broker_transport_options={"master_name": "mymaster"},
    )
    assert url == "redis+sentinel://me:pw@one:26379,two:26380,three/mymaster/2"


def test_the_sentinels_own_login_goes_along():
    """The transport options say how the sentinels themselves are spoken to."""
    transport = {"master_name": "m", "sentinel_kwargs": {"username": "me", "password": "pw"}}
    made = store_settings(app(broker_url="sentinel://one:26379", broker_transport_options=transport).conf)
    assert made.options == {"sentinel_username": "me", "sentinel_password": "pw"}


def test_a_sentinel_broker_without_database_uses_the_first():
    """As Celery does."""
    url = store_url(broker_url="sentinel://one:26379", broker_transport_options={"master_name": "m"})
    assert url == "redis+sentinel://one:26379/m/0"


def test_a_sentinel_backend_has_its_own_master():
    """The backend's transport options name it."""
    url = store_url(
        broker_url="amqp://host",
        broker_transport_options={"master_name": "wrong"},
        result_backend="sentinel://one:26379/1",
        result_backend_transport_options={"master_name": "right"},
    )
    assert url == "redis+sentinel://one:26379/right/1"


def test_a_sentinel_broker_without_master_is_refused():
    """Which master is meant cannot be guessed; both mends are named."""
    with pytest.raises(LockConfigError) as caught:
        store_url(broker_url="sentinel://one:26379")
    assert str(caught.value) == (
        "the broker is behind Sentinel and broker_transport_options names no master_name: add it, or set"
        " lock_store='redis+sentinel://host1:26379,host2:26379/mymaster/0'"
    )


def test_a_sentinel_backend_without_master_is_refused():
    """The setting that is named is the backend's own."""
    with pytest.raises(LockConfigError, match="result backend is behind Sentinel and result_backend_transport_options"):
        store_url(broker_url="amqp://host", result_backend="sentinel://one:26379")


@pytest.mark.parametrize("broker", ["amqp://host", "sqs://", "memory://", None])
def test_without_redis_locks_are_files_of_this_machine(broker, monkeypatch):
    """Where nothing better is known locks hold on this machine, and a warning says so and names the mend."""
    monkeypatch.setattr("getpass.getuser", lambda: "me")
    monkeypatch.setattr("tempfile.gettempdir", lambda: "/tmp")
    with pytest.warns(UserWarning, match="hold between the processes of this machine only") as caught:
        url = store_url(broker_url=broker)
    assert url == "file:///tmp/celery_locks-me"
    [warning] = caught
    assert str(warning.message) == (
        "no lock_store is set and neither broker nor result backend is Redis: locks are files in /tmp/celery_locks-me"
        " and hold between the processes of this machine only; set app.conf.lock_store"
    )


def test_a_named_store_gives_no_warning():
    """Nothing is said where nothing was guessed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert store_url(lock_store="memory://", broker_url="amqp://host") == "memory://"
