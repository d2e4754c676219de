"""Locks in Redis or Valkey: one server, Sentinel or Cluster. The server's clock ends a lease."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError, RedisError

from celery_locks.errors import LockConfigError, StoreUnavailable
from celery_locks.lease import Busy, Claim, Holding, Lease, Verdict
from celery_locks.stores import hidden
from celery_locks.stores.base import DEFAULT_PREFIX, Inspects, Store, require_name
from celery_locks.stores.redis import scripts
from celery_locks.stores.redis.connect import Client, client_for, mend, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

DAY = 86_400.0
#: How long a key's last fence is remembered. Fences also follow the server's clock, so forgetting one is harmless.
FENCE_RETENTION = 2 * DAY
RENEWED_AT_ONCE = 500
SHOWN_AT_ONCE = 500


class RedisStore(Store, Inspects):
    """One string a lock, `fence:owner`, that expires with its lease, and one beside it that remembers the last fence.

    Exclusion holds while the server keeps its memory. A restart without persistence, an eviction, or a failover to
    a replica that had not heard of the lock may let a second holder in: the fence is what tells them apart.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        *,
        name: str = "Redis",
        cluster: bool = False,
        prefix: str = DEFAULT_PREFIX,
        fence_retention: float = FENCE_RETENTION,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(prefix=prefix, clock=clock)
        self._connect = connect
        self._client: Client = None
        self._name = name
        self._cluster = cluster
        self._retention_ms = _ms(fence_retention)

    def acquire(self, claim: Claim) -> Lease | Busy:
        before = self.clock()
        try:
            answer = self._run(
                scripts.ACQUIRE, self._names(claim.key), claim.owner, _ms(claim.ttl), self._retention_ms
            )
        except StoreUnavailable:
            self._give_up(claim)
            raise
        if isinstance(answer, int):
            return Lease(claim, answer, before + claim.ttl, self.clock)
        return Busy(_text(answer[0]), _seconds(answer[1])) if answer else Busy()

    def renew(self, leases: Sequence[Lease]) -> list[Verdict]:
        answers = self._renew_each(leases) if self._cluster else self._renew_all(leases)
        return [Verdict.RENEWED if answer == 1 else Verdict.LOST for answer in answers]

    def release(self, claim: Claim) -> bool:
        return self._run(scripts.RELEASE, self._names(claim.key), claim.owner, self._retention_ms, 0) == 1

    def inspect(self, key: str) -> Holding | None:
        return _holding(key, self._run(scripts.INSPECT, [self._lock_name(key)]))

    def list(self, pattern: str = "*") -> Iterator[Holding]:
        with self._speaking():
            names = self._connected().scan_iter(match=self._glob(pattern), count=SHOWN_AT_ONCE)
            for page in _pages(names, SHOWN_AT_ONCE):
                # A key can be met twice in one scan.
                unique = list(dict.fromkeys(page))
                for name, answer in zip(unique, self._each(scripts.INSPECT, [([name], ()) for name in unique]), strict=True):
                    if holding := _holding(self._key(name), answer):
                        yield holding

    def force_release(self, key: str) -> bool:
        return self._run(scripts.FORCE_RELEASE, self._names(key), self._retention_ms) == 1

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _give_up(self, claim: Claim) -> None:
        """Refuse our own request should it arrive late, and undo it should it have arrived without an answer."""
        with contextlib.suppress(StoreUnavailable):
            self._run(scripts.RELEASE, self._names(claim.key), claim.owner, self._retention_ms, 1)

    def _renew_all(self, leases: Sequence[Lease]) -> list[int]:
        answers: list[int] = []
        for start in range(0, len(leases), RENEWED_AT_ONCE):
            part = leases[start : start + RENEWED_AT_ONCE]
            spans = [argument for lease in part for argument in (lease.owner, _ms(lease.ttl))]
            answers += self._run(scripts.RENEW, [self._lock_name(lease.key) for lease in part], *spans)
        return answers

    def _renew_each(self, leases: Sequence[Lease]) -> list[int]:
        # In a cluster the keys live on different nodes: one call a key, all of them sent at once.
        with self._speaking():
            calls = [([self._lock_name(lease.key)], (lease.owner, _ms(lease.ttl))) for lease in leases]
            return [answer[0] for answer in self._each(scripts.RENEW, calls)]

    def _run(self, script: scripts.Script, names: list[str], *arguments: object) -> Any:
        with self._speaking():
            client = self._client or self._connected()
            try:
                return client.execute_command("EVALSHA", script.sha, len(names), *names, *arguments)
            except NoScriptError:
                return client.execute_command("EVAL", script.text, len(names), *names, *arguments)

    def _each(self, script: scripts.Script, calls: list[tuple[list[Any], tuple[object, ...]]]) -> list[Any]:
        """The same script for several keys in one round trip (in a cluster: one a node, all at once)."""
        pipeline = self._connected().pipeline(**({} if self._cluster else {"transaction": False}))
        for names, arguments in calls:
            pipeline.execute_command("EVALSHA", script.sha, len(names), *names, *arguments)
        answers = pipeline.execute(raise_on_error=False)
        return [
            self._again(script, *call) if isinstance(answer, NoScriptError) else _good(answer)
            for call, answer in zip(calls, answers, strict=True)
        ]

    def _again(self, script: scripts.Script, names: list[Any], arguments: tuple[object, ...]) -> Any:
        return self._connected().execute_command("EVAL", script.text, len(names), *names, *arguments)

    def _connected(self) -> Client:
        # Of two threads that come here at once one wins; the other's client goes unused.
        if self._client is None:
            self._client = self._connect()
        return self._client

    def _speaking(self) -> _Speaking:
        return _Speaking(self._name)

    def _names(self, key: str) -> list[str]:
        name = self._lock_name(key)
        return [name, f"{name}:fence"]

    def _lock_name(self, key: str) -> str:
        # The braces put all names of one key on one node of a cluster; a brace in the key must not end them early.
        return f"{self.prefix}{{{_escaped(require_name(key))}}}"

    def _key(self, name: bytes | str) -> str:
        text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name
        return text[len(self.prefix) + 1 : -1].replace("%7D", "}").replace("%25", "%")

    def _glob(self, pattern: str) -> str:
        literal = "".join(f"\\{letter}" if letter in "*?[]\\" else letter for letter in self.prefix)
        return f"{literal}{{{_escaped(pattern)}}}"


class _Speaking:
    """Whatever goes wrong while speaking to Redis is an outage, said in one line."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, (RedisError, OSError)):
            what = " ".join(str(error).split()) or type(error).__name__
            mending = mend(error) if isinstance(error, RedisError) else "check that the server runs and the URL is right"
            raise StoreUnavailable(f"{self._name} did not answer ({what}): {mending}") from error


def _escaped(key: str) -> str:
    return key.replace("%", "%25").replace("}", "%7D") if "}" in key or "%" in key else key


def _ms(seconds: float) -> int:
    # Rounded up: the server's lease must not end before ours.
    return max(1, math.ceil(seconds * 1000))


def _seconds(ms: int) -> float | None:
    return ms / 1000 if ms >= 0 else None


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _good(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def _holding(key: str, answer: Sequence[Any]) -> Holding | None:
    if not answer:
        return None
    fence, _, owner = _text(answer[0]).partition(":")
    if not fence.isdigit():
        return Holding(key, _text(answer[0]), 0, _seconds(answer[1]))
    return Holding(key, owner, int(fence), _seconds(answer[1]))


def _pages(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    page: list[Any] = []
    for item in items:
        page.append(item)
        if len(page) >= size:
            yield page
            page = []
    if page:
        yield page


def from_url(url: str, *, prefix: str = DEFAULT_PREFIX, **options: Any) -> RedisStore:
    """A store for redis://, rediss://, valkey://, unix://, redis+sentinel:// or redis+cluster://."""
    address = parse(url)
    retention = address.query.pop("fence_retention", None)
    return RedisStore(
        client_for(address, options),
        name=hidden(url.partition("?")[0]),
        cluster=address.form == "cluster",
        prefix=prefix,
        fence_retention=_retention(url, retention),
    )


def _retention(url: str, text: str | None) -> float:
    try:
        seconds = FENCE_RETENTION if text is None else float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise LockConfigError(f"{hidden(url)!r}: fence_retention must be seconds above 0, not {text!r}")
    return seconds
