"""What a redlock:// URL says: the nodes, each with its login, and the settings they share."""

from __future__ import annotations

import os
import ssl
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from celery_locks.errors import LockConfigError
from celery_locks.stores.redis import address as single

FEWEST = 3
DAY = 86_400.0
_FORM = "redlock://[user:password@]host1:6379,host2:6379,host3:6379/0 (redlocks:// for TLS), with / ? # % , and @ in a"
_WRITE = f"{_FORM} password as %2F %3F %23 %25 %2C and %40"
#: What a URL may set, with its default, the least and the most it may be.
_SECONDS = {
    "socket_timeout": (2.0, 0.001, DAY),
    "restart_delay": (0.0, 0.0, DAY),
    "fence_retention": (2 * DAY, 0.001, 3650 * DAY),
}
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS = (*_FILES, "ssl_cert_reqs", "ssl_check_hostname")
_NO = ("0", "false", "no", "off", "none")
_REQUIRED = (*_NO, "required", "optional", "1", "true", "yes", "on")


class Place(NamedTuple):
    """Where one node is, and how to enter."""

    host: str
    port: int
    database: int = 0
    login: tuple[str, ...] = ()
    tls: ssl.SSLContext | None = None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Address(NamedTuple):
    """The nodes, the settings in seconds, and how the whole is shown: without passwords."""

    shown: str
    places: list[Place]
    seconds: dict[str, float]


def parse(url: str, options: dict[str, Any]) -> Address:
    """Take a URL apart; a mistake in it is a one-line error that says what to write. Its passwords are never shown."""
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    places = _places(scheme.lower(), place, hides="@" in rest)
    shown = f"{scheme}://{','.join(map(str, places))}"
    _count(shown, places)
    asked = {name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}
    settings = {**options, **asked}
    seconds = {name: _seconds(shown, name, settings.pop(name, None)) for name in _SECONDS}
    if unknown := sorted(set(settings) - {*_TLS}):
        raise LockConfigError(f"{shown!r}: unknown setting {unknown[0]}; known are {', '.join((*_SECONDS, *_TLS))}")
    if scheme.lower() == "redlocks" or settings:
        tls = _tls(shown, settings)
        places = [each._replace(tls=tls) for each in places]
    return Address(shown, places, seconds)


def _places(scheme: str, place: str, *, hides: bool) -> list[Place]:
    authority, slash, path = place.partition("/")
    try:
        nodes = [single.parse(f"redis://{each}{slash}{path}") for each in authority.split(",")]
        # As with the other forms of a URL one login in front is for all; but a node may have its own.
        first = _words(nodes[0].login)
        return [
            Place(*node.hosts[0], database=node.database(node.path), login=_words(node.login) or first)
            for node in nodes
        ]
    except (LockConfigError, IndexError):
        # What cannot be read may be a part of a password.
        shown = f"{scheme}://..." if hides else f"{scheme}://{place}"
        raise LockConfigError(f"{shown!r} does not name nodes: write {_WRITE}") from None


def _words(login: dict[str, str]) -> tuple[str, ...]:
    if "username" in login:
        return login["username"], login.get("password", "")
    return tuple(login.values())


def _count(shown: str, places: list[Place]) -> None:
    named = [("127.0.0.1" if place.host == "localhost" else place.host, place.port) for place in places]
    if twice := [place for place, name in zip(places, named, strict=True) if named.count(name) > 1]:
        raise LockConfigError(f"{shown!r} names {twice[0]} twice: one server must not have two votes")
    if len(places) < FEWEST:
        raise LockConfigError(
            f"{shown!r}: with {len(places)} of them the loss of any one stops all locks: name at least {FEWEST}"
            " servers that are independent of each other, or use redis:// for one"
        )


def _seconds(shown: str, name: str, given: Any) -> float:
    default, least, most = _SECONDS[name]
    try:
        seconds = default if given is None else float(given)
    except (TypeError, ValueError):
        seconds = -1.0
    if not least <= seconds <= most:
        raise LockConfigError(f"{shown!r}: {name} must be seconds from {least:g} to {most:g}, not {given!r}")
    return seconds


def _tls(shown: str, settings: dict[str, Any]) -> ssl.SSLContext:
    for name in _FILES:
        if (path := settings.get(name)) and not os.path.exists(path):  # noqa: PTH110 - as ssl opens it
            raise LockConfigError(f"{shown!r}: {name}: there is no file {path}")
    if settings.get("ssl_keyfile") and not settings.get("ssl_certfile"):
        raise LockConfigError(f"{shown!r}: ssl_keyfile needs its ssl_certfile beside it")
    asked = settings.get("ssl_cert_reqs")
    if isinstance(asked, str) and asked.lower().removeprefix("cert_") not in _REQUIRED:
        raise LockConfigError(f"{shown!r}: ssl_cert_reqs must be required or none, not {asked!r}")
    try:
        context = ssl.create_default_context(cafile=settings.get("ssl_ca_certs"))
        if settings.get("ssl_certfile"):
            context.load_cert_chain(settings["ssl_certfile"], settings.get("ssl_keyfile"))
    except (OSError, ValueError) as error:
        raise LockConfigError(f"{shown!r}: these TLS files cannot be used: {error}") from None
    trusts_all = _said_no(settings.get("ssl_cert_reqs", "required"))
    if trusts_all or _said_no(settings.get("ssl_check_hostname", "yes")):
        context.check_hostname = False
    if trusts_all:
        context.verify_mode = ssl.CERT_NONE
    return context


def _said_no(setting: Any) -> bool:
    # Celery's own URLs say CERT_NONE, its settings False or ssl.CERT_NONE.
    return setting in (None, False, ssl.CERT_NONE) or str(setting).lower().removeprefix("cert_") in _NO
