"""What an etcd URL says, taken apart."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from celery_locks.errors import LockConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

PORT = 2379
_FORM = "etcd://[user:password@]host:2379,host2:2379/, or etcds://... for TLS"
_ENCODE = "write / ? # % and @ in a user name or password as %2F %3F %23 %25 and %40"
_TIMES = ("timeout", "try_timeout")
_FILES = ("ca_cert", "cert", "key")


class Address(NamedTuple):
    """The members of a cluster, and how to speak to them."""

    shown: str
    hosts: list[tuple[str, int]]
    tls: bool
    user: str
    password: str
    #: Seconds for a whole verb, and for one try of one request.
    timeout: float
    try_timeout: float
    #: Files: whom to trust, and who we are.
    ca_cert: str | None
    cert: str | None
    key: str | None

    @property
    def farewell(self) -> float:
        """Seconds of an acquire's time that are kept for undoing it."""
        return min(self.try_timeout, self.timeout / 4)


def parse(url: str, options: Mapping[str, Any]) -> Address:
    """Take a URL apart; a mistake in it is a one-line error with the right form. Its password is never shown."""
    try:
        return _parse(url, options)
    except ValueError as error:
        raise LockConfigError(f"{_safe(url)!r} is not an etcd URL ({error}); write {_FORM}") from None


def _parse(url: str, options: Mapping[str, Any]) -> Address:
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in ("etcd", "etcds"):
        raise ValueError(f"unknown scheme {scheme}")
    place, _, query = rest.partition("?")
    authority, _, path = place.partition("/")
    login, at, hosts = authority.rpartition("@")
    if path:
        raise ValueError(_ENCODE if "@" in path else f"{path!r} is too much: what keeps locks apart is lock_prefix")
    user, _, password = login.partition(":")
    asked = {**options, **{name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()}}
    return Address(
        shown=f"{scheme}://{'***@' if at else ''}{hosts}",
        hosts=_hosts(hosts, hides="@" in rest),
        tls=scheme.lower() == "etcds",
        user=unquote(user),
        password=unquote(password),
        **_settings(asked, tls=scheme.lower() == "etcds"),
    )


def _hosts(text: str, *, hides: bool) -> list[tuple[str, int]]:
    """Where the members are. What cannot be read may be a part of a password: then it is not said."""
    try:
        return [_host(each) for each in text.split(",")] if text else [("localhost", PORT)]
    except ValueError as error:
        raise ValueError(_ENCODE if hides else str(error)) from None


def _host(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, PORT if parts.port is None else parts.port
    except ValueError:
        host, port = None, 0
    if not host or not port or text != parts.netloc or " " in text:
        raise ValueError(f"{text!r} is no host:port")
    return host, port


def _settings(asked: Mapping[str, Any], *, tls: bool) -> dict[str, Any]:
    if unknown := set(asked) - {*_TIMES, *_FILES}:
        raise ValueError(f"unknown option {', '.join(sorted(unknown))}: known are {', '.join((*_TIMES, *_FILES))}")
    settings: dict[str, Any] = {"timeout": 5.0, "try_timeout": 1.0, **dict.fromkeys(_FILES), **asked}
    for name in _TIMES:
        settings[name] = _seconds(name, settings[name])
    for name in _FILES:
        _check_file(name, settings[name], tls=tls)
    if settings["key"] and not settings["cert"]:
        raise ValueError("a key needs its cert beside it")
    return settings


def _seconds(name: str, value: Any) -> float:
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise ValueError(f"{name} must be seconds above 0, not {value!r}")
    return seconds


def _check_file(name: str, path: str | None, *, tls: bool) -> None:
    if path and not tls:
        raise ValueError(f"{name} is for TLS: begin with etcds://")
    if path and not os.path.exists(path):  # noqa: PTH110 - as ssl opens it
        raise ValueError(f"{name}: there is no file {path}")


def _safe(url: str) -> str:
    return f"{url.partition('://')[0]}://..." if "@" in url or "?" in url else url
