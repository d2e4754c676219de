"""What a Redis URL says, taken apart."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from celery_locks.errors import LockConfigError

_SCHEME = re.compile(r"^(redis|valkey)(s?)(?:\+(sentinel|cluster|socket))?$|^(unix)$")
_FORMS = (
    "redis://[user:password@]host:6379/0, rediss://... for TLS, unix:///path/redis.sock?db=0,"
    " redis+sentinel://host1:26379,host2:26379/mymaster/0 or redis+cluster://host1:6379,host2:6379"
)


class Address(NamedTuple):
    """The parts of a URL."""

    shown: str
    tls: bool
    form: str
    login: dict[str, str]
    hosts: list[tuple[str, int]]
    path: str
    query: dict[str, str]

    def database(self, text: str) -> int:
        """The number of a database; none named is the first."""
        digits = text.strip("/") or "0"
        if not (digits.isascii() and digits.isdigit()):
            raise LockConfigError(f"{self.shown!r}: the database must be a number from 0 up, not {digits!r}")
        return int(digits)


def parse(url: str) -> Address:
    """Take a URL apart; a mistake in it is a one-line error with the right forms. Its password is never shown."""
    try:
        return _parse(url)
    except ValueError as error:
        raise LockConfigError(f"{_safe(url)!r} is not a Redis URL ({error}); write {_FORMS}") from None


def _parse(url: str) -> Address:
    scheme, _, rest = url.partition("://")
    matched = _SCHEME.match(scheme.lower())
    if not matched:
        raise ValueError(f"unknown scheme {scheme}")
    form = "socket" if matched[4] else matched[3] or ""
    place, _, query = rest.partition("?")
    authority, slash, path = place.partition("/")
    login, at, hosts = authority.rpartition("@")
    if not at and "@" in path:
        # Also what follows would be shown, and it is a part of the password.
        raise ValueError(_ENCODE)
    return Address(
        shown=f"{scheme}://{'***@' if at else ''}{hosts}{slash}{path}",
        tls=matched[2] == "s",
        form=form,
        login=_login(login),
        hosts=_hosts(hosts, 26379 if form == "sentinel" else 6379, hides="@" in rest),
        path=unquote(slash + path),
        query={name: values[-1] for name, values in parse_qs(query, keep_blank_values=True).items()},
    )


_ENCODE = "write / ? # % and @ in a user name or password as %2F %3F %23 %25 and %40"


def _login(text: str) -> dict[str, str]:
    user, _, password = text.partition(":")
    found = {"username": unquote(user), "password": unquote(password)}
    return {name: value for name, value in found.items() if value}


def _hosts(text: str, default: int, *, hides: bool) -> list[tuple[str, int]]:
    """Where the servers are. What cannot be read may be a part of a password: then it is not said."""
    try:
        return [_host(each, default) for each in text.split(",")] if text else []
    except ValueError as error:
        raise ValueError(_ENCODE if hides else str(error)) from None


def _host(text: str, default: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, default if parts.port is None else parts.port
    except ValueError:
        host, port = None, 0
    if not host or not port or text != parts.netloc or " " in text:
        raise ValueError(f"{text!r} is no host:port")
    return host, port


def _safe(url: str) -> str:
    return f"{url.partition('://')[0]}://..." if "@" in url or "?" in url else url
