"""What an app is to Celery: the settings of RQ jobs, and the stores that these name."""

from __future__ import annotations

import hashlib
import json
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from redis import SSLConnection, UnixDomainSocketConnection
from redis.sentinel import SentinelConnectionPool

from celery_locks import config
from celery_locks.errors import LockConfigError
from celery_locks.locks import Locks
from celery_locks.options import KNOWN, Options, unknown
from celery_locks.patterns import Patterns
from celery_locks.rq import horse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis import Redis

#: What `configure` was given.
_given: dict[str, Any] = {}
#: By where RQ's Redis is, and by whether Django's settings were known: a job's module may be the first to load them.
_houses: dict[tuple[str | None, bool], House] = {}
#: The locks of each store that was opened in this process, or before it was forked, by the store's word.
_opened: dict[str, Locks] = {}
#: Those that the process has opened which spawned this one.
_inherited: dict[str, int] = {}


def configure(**settings: Any) -> None:
    """Set what a Celery app sets as `app.conf.lock_...`, with or without `lock_`; the environment has the last word.

        configure(store="redis://localhost/2", tasks={"shop.jobs.sync_*": {"key": "sync:{account_id}", "ttl": 60}})

    To be called where both workers and those who enqueue import it: in the module that `rq worker -c` names, or in
    that of the jobs.
    """
    named = {name if name.startswith("lock_") else f"lock_{name}": value for name, value in settings.items()}
    for name in named:
        if name not in KNOWN:
            raise LockConfigError(f"configure(): {unknown('setting', name)}")
    _given.update(named)
    _houses.clear()


class House:
    """The settings that hold for the jobs of one Redis, and what is opened by them."""

    def __init__(
        self, conf: Mapping[str, Any], own: str | None = None, options: Mapping[str, Any] | None = None
    ) -> None:
        self.conf = conf
        #: The store where RQ's own keys are, and what its URL cannot say: certificates, and the login of sentinels.
        self._own, self._besides = own, options or {}
        #: What each function's declaration comes to.
        self.plans: dict[Any, Any] = {}

    @classmethod
    def of(cls, connection: Redis | None) -> House:
        """The house of the jobs that RQ keeps there; of a call by hand, which has no job and no Redis of RQ."""
        url, options = _url_of(connection) if connection else (None, None)
        django = _django()
        known = (url, django is not None)
        if known not in _houses:
            conf = {"lock_store": url, **_named_in(django), **_given}
            _houses[known] = cls({name: value for name, value in conf.items() if value is not None}, url, options)
        return _houses[known]

    @cached_property
    def patterns(self) -> Patterns:
        """What `lock_tasks` says."""
        return Patterns.of(self.conf)

    def locks(self, alias: str | None = None) -> Locks:
        """The locks of the store that settings name, or of another by its alias or URL."""
        return opened(self.settings(alias))

    def settings(self, alias: str | None) -> config.StoreSettings:
        """Which store that is."""
        settings = config.known_store(self.conf, alias)
        if settings is None:
            raise LockConfigError(
                "no lock_store is set, and where RQ's Redis is cannot be told here (only a job's is known, by host or"
                " socket): set CELERY_LOCK_STORE, or call celery_locks.rq.configure(store='redis://...')"
            )
        if self._besides and settings.url == self._own:
            return settings._replace(options={**settings.options, **self._besides})
        return settings

    def open_all(self) -> None:
        """Open all stores that settings name: processes forked from this one know them as it does. None is asked.

        Raises `LockConfigError` for a mistake in any setting, so that a worker does not begin with it.
        """
        Options.made(config.defaults(self.conf), where="the settings")
        _ = self.patterns
        for alias in config.setting(self.conf, "lock_stores") or {}:
            self.locks(alias)
        if config.setting(self.conf, "lock_store"):
            self.locks()


def opened(settings: config.StoreSettings) -> Locks:
    """The locks of this store, the same ones each time."""
    word = word_of(settings)
    if word not in _opened:
        locks = Locks(settings.url, prefix=settings.prefix, **settings.options)
        if word in _inherited:
            locks.guard.keeper.inherit(_inherited[word])
        elif horse.is_ours():
            # Processes that are forked later know it then.
            horse.tell(store=[settings.url, settings.prefix, {**settings.options}])
        _opened[word] = locks
    return _opened[word]


def inherit(numbers: Mapping[str, int]) -> None:
    """The main process that spawned this one has opened these, and knows their keepers by these numbers."""
    _inherited.update(numbers)


def learn(said: Any) -> None:
    """In a main process: open what a job has opened for itself, so that its successors share it with us."""
    url, prefix, options = said
    opened(config.StoreSettings(url, prefix, options))


def word_of(settings: config.StoreSettings) -> str:
    """A word for a store, the same wherever its settings are the same."""
    said = json.dumps([settings.url, settings.prefix, {**settings.options}], sort_keys=True, default=repr)
    return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()


def known(word: str) -> Locks | None:
    """The locks of the store of this word, if it was opened here."""
    return _opened.get(word)


def all_known() -> dict[str, Locks]:
    """Those that were."""
    return dict(_opened)


def _django() -> Any:
    settings = getattr(sys.modules.get("django.conf"), "settings", None)
    return settings if settings is not None and settings.configured else None


def _named_in(settings: Any) -> dict[str, Any]:
    named = (name for name in dir(settings) if name.startswith("CELERY_LOCK_"))
    return {name.removeprefix("CELERY_").lower(): getattr(settings, name) for name in named}


def _url_of(connection: Redis) -> tuple[str | None, dict[str, Any] | None]:
    """The store that is where RQ's own keys are; no URL where that cannot be told."""
    pool = connection.connection_pool
    named = pool.connection_kwargs
    user, password, db = named.get("username"), named.get("password"), named.get("db") or 0
    login = f"{quote(user or '', safe='')}:{quote(password, safe='')}@" if password else ""
    if named.get("credential_provider"):
        return None, None
    tls = issubclass(pool.connection_class, SSLConnection)
    certificates = {name: value for name, value in named.items() if tls and name.startswith("ssl_")}
    if isinstance(pool, SentinelConnectionPool):
        sentinels = [each.connection_pool for each in pool.sentinel_manager.sentinels]
        if any(issubclass(each.connection_class, SSLConnection) != tls for each in sentinels):
            # A URL means TLS for all or for none.
            return None, None
        places = ",".join(_place(each.connection_kwargs) for each in sentinels)
        theirs = sentinels[0].connection_kwargs
        logins = {f"sentinel_{name}": theirs[name] for name in ("username", "password") if theirs.get(name)}
        return f"redis{'s' * tls}+sentinel://{login}{places}/{pool.service_name}/{db}", {**certificates, **logins}
    if issubclass(pool.connection_class, UnixDomainSocketConnection):
        return f"unix://{login}{named['path']}?db={db}", None
    return f"redis{'s' * tls}://{login}{_place(named)}/{db}", certificates


def _place(named: Mapping[str, Any]) -> str:
    host = named.get("host", "localhost")
    return f"{f'[{host}]' if ':' in host else host}:{named.get('port', 6379)}"
