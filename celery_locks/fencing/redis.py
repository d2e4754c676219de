"""A guard for values in Redis or Valkey: a write and its fence in one script."""

from __future__ import annotations

import functools
import hashlib
import inspect
import math
import os
import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Protocol

from celery_locks import duration
from celery_locks.errors import LockConfigError, LockNotOwned
from celery_locks.fencing.bearer import bearer, stale

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery_locks.lease import Lease
    from celery_locks.lock import Lock


_SCRIPT = (files("celery_locks.fencing") / "scripts" / "write.lua").read_text("utf-8")
#: In bytes, as all that is ours: a client need not encode it for each write.
_SHA = hashlib.sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest().encode()
#: A name that Redis Cluster places by a part of it, as it tells: up to the first } behind the first {.
_TAG = re.compile(r"[^{]*\{[^}]+\}", re.DOTALL)


class Client(Protocol):
    """What is asked of a client: redis-py's and Valkey's have it, for one server, Sentinel and Cluster."""

    def execute_command(self, *words: Any, **options: Any) -> Any:
        """Send a command and give its answer."""


class Fenced:
    """Writes to Redis that a stale holder cannot do.

    Beside each name lies its fence, in the same slot of a cluster. A write is done if no higher fence lies there,
    and `StaleFence` is raised otherwise. `get` and `hgetall` put the fence there, too, before they read: a job that
    reads before it writes reads with them. A write past the guard is not seen, and loses no fence either.

    With `keep` a fence is forgotten so many seconds after the last write, and then refuses nobody.
    """

    def __init__(self, client: Client, *, keep: float | None = None) -> None:
        _refuse_strange(client)
        self._client = client
        self._keep = b"" if keep is None else str(_milliseconds("keep", keep)).encode()

    def set(
        self,
        name: str | bytes,
        value: str | bytes | float,
        *,
        ex: float | None = None,
        key: str | None = None,
        lease: Lease | Lock | None = None,
    ) -> None:
        """Write a value, which ends after `ex` seconds if given. Its fence does not end with it."""
        words = () if ex is None else (b"PX", _milliseconds("ex", ex))
        self._do(b"SET", name, value, *words, key=key, lease=lease)

    def hset(
        self,
        name: str | bytes,
        mapping: Mapping[Any, Any],
        *,
        key: str | None = None,
        lease: Lease | Lock | None = None,
    ) -> int:
        """Write fields of a hash, and give how many of them are new."""
        if not mapping:
            raise ValueError(f"hset of {name!r}: the mapping is empty")
        words = [word for pair in mapping.items() for word in pair]
        return int(self._do(b"HSET", name, *words, key=key, lease=lease))

    def incr(
        self, name: str | bytes, amount: int = 1, *, key: str | None = None, lease: Lease | Lock | None = None
    ) -> int:
        """Add to a number, and give the sum. A client that sends it again, for its answer was lost, adds once."""
        return int(self._do(b"INCRBY", name, amount, key=key, lease=lease, who=os.urandom(8).hex()))

    def delete(self, name: str | bytes, *, key: str | None = None, lease: Lease | Lock | None = None) -> bool:
        """Delete a value, and say whether there was one. Its fence stays, and refuses as before."""
        return bool(self._do(b"DEL", name, key=key, lease=lease))

    def get(self, name: str | bytes, *, key: str | None = None, lease: Lease | Lock | None = None) -> Any:
        """Claim the name, then read its value: from here on no holder before this one writes to it."""
        return self._do(b"GET", name, key=key, lease=lease)

    def hgetall(
        self, name: str | bytes, *, key: str | None = None, lease: Lease | Lock | None = None
    ) -> dict[Any, Any]:
        """Claim the name, then read its hash."""
        flat = self._do(b"HGETALL", name, key=key, lease=lease)
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def _do(
        self,
        command: bytes,
        name: str | bytes,
        *words: Any,
        key: str | None,
        lease: Lease | Lock | None,
        who: str = "",
    ) -> Any:
        found = _of_one_key(bearer(lease, key), _shown(command, name))
        try:
            mine = f"{found.fence}:{who}:{found.key}".encode()
            return self._run(name, fence_of(name), mine, self._keep, command, *words)
        except Exception as error:
            _raise_if_refused(str(error), _shown(command, name), found)
            raise

    def _run(self, *words: Any) -> Any:
        try:
            return self._client.execute_command("EVALSHA", _SHA, 2, *words)
        except Exception as error:
            # By their names, here as below: each client library has classes of its own.
            if type(error).__name__ != "NoScriptError":
                raise
        return self._client.execute_command("EVAL", _SCRIPT, 2, *words)


def _of_one_key(lease: Lease, what: str) -> Lease:
    # The key is written down with the fence.
    if lease.claim.others:
        raise LockConfigError(f"{what} is guarded by one of {lease.claim.shown}: say which, with key={lease.key!r}")
    return lease


@functools.lru_cache(maxsize=1024)
def fence_of(name: str | bytes) -> str | bytes:
    """The name beside it under which the fence lies, in the same slot of a cluster."""
    if isinstance(name, bytes):
        return _beside(name.decode("latin-1")).encode("latin-1")
    return _beside(name)


def _beside(name: str) -> str:
    if _TAG.match(name):
        return f"{name}.fence"
    if not name or "}" in name:
        raise LockConfigError(
            f"the fence of {name!r} finds no place in the same slot of a cluster: leave out the '}}', or give the name"
            " a hash tag of its own, as {42} in 'wallet:{42}:balance'"
        )
    return f"{{{name}}}:fence"


def _raise_if_refused(said: str, what: str, lease: Lease) -> None:
    kind, _, found = said.partition(" ")
    if kind == "STALEFENCE":
        raise stale(lease, what, int(found)) from None
    if kind == "OTHERKEY":
        raise LockNotOwned(
            f"{what} was not written: the fence beside it is of the key {found!r}, and that of {lease.key!r} says"
            " nothing about it. Write one name under one lock",
            lease.key,
        ) from None
    if kind == "NOFENCE":
        raise LockConfigError(
            f"{what} was not written: what lies under {found!r} is no fence of ours. Delete it if"
            " nobody needs it, or give the value another name"
        ) from None


def _refuse_strange(client: Client) -> None:
    if inspect.iscoroutinefunction(getattr(client, "execute_command", None)):
        raise LockConfigError(
            "a guard needs a client that is not asynchronous: redis.Redis(...) or redis.RedisCluster(...)"
        )
    if not hasattr(client, "execute_command"):
        raise LockConfigError(
            f"a guard writes through your client, and not through a {type(client).__name__}: give it"
            " redis.Redis.from_url(...), redis.RedisCluster(...), or Valkey's"
        )
    if hasattr(client, "execute"):
        raise LockConfigError(
            "a guard cannot write through a pipeline, which does not stop at a refusal: what stands behind it would be"
            " written. Give it the client"
        )


def _milliseconds(name: str, seconds: float) -> int:
    return math.ceil(duration.seconds(name, seconds, "a fenced write", above_zero=True) * 1000)


def _shown(command: bytes, name: str | bytes) -> str:
    text = name if isinstance(name, str) else name.decode("utf-8", "replace")
    return f"{'a claim on ' if command in (b'GET', b'HGETALL') else ''}{text!r} in Redis"
