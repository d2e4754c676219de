"""What a ZooKeeper URL says, taken apart."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from celery_locks.errors import LockConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FORM = "zookeeper://[user:password@]host1:2181,host2:2181/chroot?session_timeout=10"
_ENCODE = "write / ? # % and @ in a user name or password as %2F %3F %23 %25 and %40"
_ACLS = ("open", "creator", "readable")
_FILES = ("ca", "certfile", "keyfile")
_SWITCHES = {"use_ssl": False, "verify_certs": True, "check_hostname": True}
_YES, _NO = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
SESSION_TIMEOUT, TIMEOUT = 10.0, 5.0
#: The server counts in milliseconds, in 31 bits.
_LONGEST = 86_400.0


class Address(NamedTuple):
    """The parts of a URL."""

    shown: str
    hosts: tuple[str, ...]
    chroot: str = ""
    #: user:password, or nothing
    login: str = ""
    acl: str = "open"
    session_timeout: float = SESSION_TIMEOUT
    #: Seconds within which a verb must be answered.
    timeout: float = TIMEOUT
    tls: Mapping[str, Any] = {}


def parse(url: str, options: Mapping[str, Any]) -> Address:
    """Take a URL apart; a mistake in it is a one-line error with the right form. Its password is never shown."""
    try:
        return _parse(url, options)
    except ValueError as error:
        shown = f"{url.partition('://')[0]}://..." if "@" in url or "?" in url else url
        raise LockConfigError(f"{shown!r} is not a ZooKeeper URL ({error}); write {_FORM}") from None


def _parse(url: str, options: Mapping[str, Any]) -> Address:
    place, _, query = url.partition("://")[2].partition("?")
    authority, slash, path = place.partition("/")
    login, at, hosts = authority.rpartition("@")
    if not at and "@" in path:
        # Also what follows would be shown, and it is a part of the password.
        raise ValueError(_ENCODE)
    settings = {**options, **dict(parse_qsl(query, keep_blank_values=True))}
    found = Address(
        shown=f"zookeeper://{'***@' if at else ''}{hosts}{slash}{path}",
        hosts=_hosts(hosts, hides=bool(at)),
        chroot=_chroot(path),
        login=_login(login) if at else "",
        acl=str(settings.pop("acl", "creator" if at else "open")),
        session_timeout=_seconds("session_timeout", settings.pop("session_timeout", SESSION_TIMEOUT)),
        timeout=_seconds("timeout", settings.pop("timeout", TIMEOUT)),
        tls=_tls(settings),
    )
    _check(found, settings)
    return found


def _check(found: Address, rest: Mapping[str, Any]) -> None:
    if rest:
        raise ValueError(
            f"unknown option {', '.join(map(repr, rest))}; there are acl, session_timeout, timeout,"
            f" {', '.join((*_SWITCHES, *_FILES))} and keyfile_password"
        )
    if found.acl not in _ACLS:
        raise ValueError(f"acl must be one of {', '.join(_ACLS)}, not {found.acl!r}")
    if found.acl != "open" and not found.login:
        raise ValueError(f"acl={found.acl} needs a user and a password in the URL")


def _hosts(text: str, *, hides: bool) -> tuple[str, ...]:
    """Where the servers are. What cannot be read may be a part of a password: then it is not said."""
    try:
        return tuple(_host(each) for each in text.split(","))
    except ValueError as error:
        raise ValueError(_ENCODE if hides else str(error)) from None


def _host(text: str) -> str:
    parts = urlsplit(f"//{text}")
    try:
        host, port = parts.hostname, 2181 if parts.port is None else parts.port
    except ValueError:
        host, port = None, 0
    if not host or not port or text != parts.netloc or " " in text:
        raise ValueError(f"{text!r} is no host:port")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _login(text: str) -> str:
    user, _, password = (unquote(part) for part in text.partition(":"))
    if not user or not password:
        raise ValueError("a user needs a password, as in user:password@host")
    if ":" in user:
        raise ValueError("ZooKeeper allows no colon in a user name")
    return f"{user}:{password}"


def _chroot(path: str) -> str:
    parts = [unquote(part) for part in path.strip("/").split("/")] if path.strip("/") else []
    if any(part in ("", ".", "..") or "/" in part or not part.isprintable() for part in parts):
        raise ValueError("each part of the chroot must be a name that ZooKeeper takes")
    return "".join(f"/{part}" for part in parts)


def _seconds(name: str, value: object) -> float:
    try:
        seconds = float(value)  # type: ignore[arg-type]  # that is what is tried
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 < seconds <= _LONGEST:
        raise ValueError(f"{name} must be seconds above 0 and at most a day, not {value!r}")
    return seconds


def _tls(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of kazoo, by its own names. Unlike kazoo we check the host's name."""
    named = {*_SWITCHES, *_FILES, "keyfile_password"} & {*settings}
    found = {name: settings.pop(name) for name in named}
    switches = {name: _switch(name, found.get(name, default)) for name, default in _SWITCHES.items()}
    for name in _FILES:
        if name in found and not Path(found[name]).exists():
            raise ValueError(f"{name}: there is no file {found[name]}")
    if not switches["use_ssl"]:
        if found.keys() - {"use_ssl"}:
            raise ValueError("options of TLS need use_ssl=true")
        return {}
    switches["check_hostname"] = switches["check_hostname"] and switches["verify_certs"]
    return {**found, **switches}


def _switch(name: str, value: object) -> bool:
    text = str(value).lower()
    if text not in _YES + _NO:
        raise ValueError(f"{name} must be true or false, not {value!r}")
    return text in _YES
