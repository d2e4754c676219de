"""Settings: from an app's configuration and the environment to a store and option defaults."""

from __future__ import annotations

import difflib
import json
import os
import re
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

from celery_locks.duration import seconds
from celery_locks.errors import LockConfigError
from celery_locks.options import IN_URL, KNOWN, NAMES, unknown
from celery_locks.stores import DEFAULT_PREFIX, hidden

Settings = Mapping[str, Any]

#: Options that are a task's own and have no default setting.
_NO_DEFAULT = {"lock_store"}
#: Durations that are settings of some stores only: how these call them, and the schemes of their URLs.
_OF_STORES = {"lock_restart_delay": ("restart_delay", {"redlock", "redlocks"})}
_REDIS_TRANSPORTS = {"redis", "rediss", "valkey", "valkeys", "sentinel", "redis+socket", "valkey+socket"}
#: A broker delivers a message again that is held for longer than this, unless it is told otherwise. Seconds.
_REDELIVERED = {"redis": 3600.0, "rediss": 3600.0, "sentinel": 3600.0, "sqs": 1800.0}
_WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False, "none": None, "null": None}


class StoreSettings(NamedTuple):
    """Which store to open, and how."""

    url: str
    prefix: str
    options: Mapping[str, Any]
    #: The setting that names it.
    where: str = "lock_store"


def setting(conf: Settings, name: str) -> Any:
    """A setting by its `lock_` name: the environment's CELERY_LOCK_..., else the app's, else None."""
    text = os.environ.get(f"CELERY_{name.upper()}")
    return conf.get(name) if text is None else _value(name, text)


def defaults(conf: Settings) -> dict[str, Any]:
    """The option defaults that settings change. A name that is nearly one of them is an error, not a silence."""
    _check_names(conf)
    found = {name: setting(conf, name) for name in NAMES if name not in _NO_DEFAULT}
    return {name: value for name, value in found.items() if value is not None}


def _check_names(conf: Settings) -> None:
    given = {name for name in conf if name.startswith(("lock_", "CELERY_LOCK_"))}
    given |= {name for name in os.environ if name.startswith("CELERY_LOCK_")}
    for name in sorted(given):
        plain = name.removeprefix("CELERY_").lower()
        # A name that is like none of ours may be somebody else's.
        is_near = plain not in KNOWN and difflib.get_close_matches(plain, KNOWN, n=1, cutoff=0.8)
        if is_near or plain in IN_URL:
            raise LockConfigError(unknown("setting", name))


def store_settings(conf: Settings, alias: str | None = None) -> StoreSettings:
    """The store a task names, or the app's, or the best guess for an app that names none."""
    return known_store(conf, alias) or _on_this_machine(_prefix(conf))


def known_store(conf: Settings, alias: str | None = None) -> StoreSettings | None:
    """The store that settings name, if only as the broker or result backend; None when they name none."""
    _check_names(conf)
    prefix = _prefix(conf)
    named = alias or setting(conf, "lock_store")
    if named:
        url = _resolved(conf, _text("lock_store", named))
        return StoreSettings(url, prefix, _of_its_kind(conf, url))
    return _from_broker(conf, prefix)


def _prefix(conf: Settings) -> str:
    prefix = setting(conf, "lock_prefix")
    return DEFAULT_PREFIX if prefix is None else _text("lock_prefix", prefix)


def _of_its_kind(conf: Settings, url: str) -> dict[str, Any]:
    """What is set for stores of that kind. A URL that says it itself has the last word."""
    scheme = url.partition("://")[0].lower()
    found = {name: setting(conf, name) for name, (_, schemes) in _OF_STORES.items() if scheme in schemes}
    return {
        _OF_STORES[name][0]: seconds(name, value, "the settings") for name, value in found.items() if value is not None
    }


def _resolved(conf: Settings, named: str) -> str:
    stores = setting(conf, "lock_stores") or {}
    if not isinstance(stores, Mapping):
        raise LockConfigError(f"lock_stores must map each alias to a URL, not be {hidden(stores)}")
    if named in stores:
        return _text(f"lock_stores[{hidden(named)}]", stores[named])
    if "://" in named:
        return named
    known = ", ".join(map(hidden, stores)) or "none"
    raise LockConfigError(f"lock_store {hidden(named)} is neither a URL nor an alias in lock_stores (known: {known})")


def _from_broker(conf: Settings, prefix: str) -> StoreSettings | None:
    for name, transport_options, use_ssl in (
        ("broker_url", "broker_transport_options", "broker_use_ssl"),
        ("result_backend", "result_backend_transport_options", "redis_backend_use_ssl"),
    ):
        url, transport, tls = _url(conf, name), conf.get(transport_options) or {}, conf.get(use_ssl)
        if isinstance(url, str) and url.partition("://")[0].lower() in _REDIS_TRANSPORTS:
            options = {**(tls if isinstance(tls, Mapping) else {}), **_sentinels_own(transport)}
            store = _with_tls(_as_store_url(url, transport, transport_options), tls)
            return StoreSettings(store, prefix, options, f"lock_store (not set, so taken from {name})")
    return None


def _sentinels_own(transport: Mapping[str, Any]) -> dict[str, Any]:
    """What the sentinels themselves ask for, beside what the master does."""
    return {f"sentinel_{name}": value for name, value in (transport.get("sentinel_kwargs") or {}).items()}


def _with_tls(url: str, tls: object) -> str:
    """Celery has a setting where a URL says rediss."""
    scheme, _, rest = url.partition("://")
    plain, plus, form = scheme.partition("+")
    return f"{plain}s{plus}{form}://{rest}" if tls and plain in ("redis", "valkey") and form != "socket" else url


def _url(conf: Settings, name: str) -> Any:
    # Celery's own settings look at CELERY_BROKER_URL and the like only when read as attributes.
    url = getattr(conf, name, None) or conf.get(name)
    # Several brokers are alternatives of each other; locks must all live in one.
    return url[0] if isinstance(url, (list, tuple)) and url else url


def _as_store_url(url: str, transport: Mapping[str, Any], named: str) -> str:
    """Celery names several hosts as several URLs, and the master in its transport options."""
    # Not at a ; alone, which may be a part of a password: half of one would look like a host, and be shown.
    first, *others = re.split(r";(?=[\w+]+://)", url)
    scheme, _, rest = first.partition("://")
    if scheme != "sentinel":
        return first
    authority, _, tail = rest.partition("/")
    hosts = [authority, *(other.partition("://")[2].partition("/")[0].rpartition("@")[2] for other in others)]
    master = transport.get("master_name")
    if not master:
        server = "broker" if named.startswith("broker") else "result backend"
        raise LockConfigError(
            f"the {server} is behind Sentinel and {named} names no master_name: add it, or set"
            " lock_store='redis+sentinel://host1:26379,host2:26379/mymaster/0'"
        )
    return f"redis+sentinel://{','.join(hosts)}/{master}/{tail.partition('?')[0] or '0'}"


def _on_this_machine(prefix: str) -> StoreSettings:
    import getpass  # noqa: PLC0415 - imports that few apps come to need
    import tempfile  # noqa: PLC0415

    folder = os.path.join(tempfile.gettempdir(), f"celery_locks-{getpass.getuser()}")  # noqa: PTH118 - without pathlib
    warnings.warn(
        f"no lock_store is set and neither broker nor result backend is Redis: locks are files in {folder} and hold"
        " between the processes of this machine only; set app.conf.lock_store",
        stacklevel=2,
    )
    return StoreSettings(f"file://{folder}", prefix, {})


def _value(name: str, text: str) -> Any:
    """A setting from the environment: JSON where it reads as JSON, a word, or text."""
    if name in {"lock_store", "lock_prefix", "lock_key", "lock_beat_key"}:
        return text
    if text.strip().lower() in _WORDS:
        return _WORDS[text.strip().lower()]
    try:
        return json.loads(text)
    except ValueError:
        return text


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise LockConfigError(f"{name} must be a text, not {hidden(value)}")
    return value


def delays_natively(app: Any) -> bool:
    """Whether jobs with a countdown wait in the broker itself, as with quorum queues, where no worker can wake them."""
    return any((queue.queue_arguments or {}).get("x-queue-type") == "quorum" for queue in app.amqp.queues.values())


def redelivered_after(conf: Settings, transport: str | None) -> float | None:
    """Seconds after which the broker delivers an unacknowledged message again, if it does."""
    default = _REDELIVERED.get(transport or "")
    given = (conf.get("broker_transport_options") or {}).get("visibility_timeout", default)
    return float(given) if given is not None else None
