"""Where the microseconds of an uncontended acquire and release go, layer by layer."""

from __future__ import annotations

import hashlib
import socket
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

import redis

from benchmarks.report import Figure, Part
from benchmarks.rounds import Rounds
from benchmarks.uncontended import BARE_OURS, GIVE_BACK, TAKE, bare, bare_with_our_scripts, made_anew, reused, the_store
from celery_locks import Locks
from celery_locks.guard import Guard
from celery_locks.lease import Claim, Lease, Verdict, new_owner
from celery_locks.lock import Lock
from celery_locks.stores import Store
from celery_locks.stores.redis import RedisStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.uncontended import Subject

TTL = 30.0


class _Layer(NamedTuple):
    what: str
    subject: str
    base: str


#: Each is the difference of two subjects: the first does what the second does, and the layer.
_ABOVE_A_STORE = (
    _Layer("a new owner and its Claim", "claim", "nothing"),
    _Layer("RedisStore, all but its sending", "redis store", "nothing"),
    _Layer("Guard.enter, Guard.leave", "guard", "store"),
    _Layer("Lock.acquire, Lock.release, claim included", "lock", "guard"),
    _Layer("a heartbeat: Keeper.watch, Keeper.forget", "beating", "lock"),
    _Layer("making the Lock", "new lock", "lock"),
    _Layer("Guard.run, as a task does, with its claim", "run", "store"),
)
_WITH_A_SERVER = (
    _Layer("two bare evalsha of redis-py", "bare", "raw"),
    _Layer("our scripts, in place of the smallest", BARE_OURS, "bare"),
    _Layer("RedisStore, in place of evalsha", "store", BARE_OURS),
    _Layer("Guard and Lock", "lock", "store"),
)


class _SilentWire:
    """Answers as the server would, at once: what is left is the store's own work."""

    sees_listeners = True
    is_whole = True

    def run(self, *_: object) -> int:
        return 1

    def batch(self, calls: Sequence[object]) -> list[int]:
        return [1] * len(calls)

    each = batch

    def names(self, _pattern: str) -> Iterator[str]:
        return iter(())

    def listener(self) -> Any:
        raise NotImplementedError

    nodes = listener

    def close(self) -> None:
        """Nothing was opened."""


class SilentStore(Store):
    """Grants at once: what is left is the work of the layers above a store."""

    def acquire(self, claim: Claim) -> Lease:
        return Lease(claim, 1, self.clock() + claim.ttl, self.clock)

    def release(self, _claim: Claim) -> bool:
        return True

    def renew(self, leases: Sequence[Lease]) -> list[Verdict]:
        return [Verdict.RENEWED] * len(leases)


def run(url: str, *, quick: bool) -> Part:
    """First each layer without a server, where little disturbs; then all of them together with one."""
    silent = Rounds.timed(_without_server(), rounds=5 if quick else 100, calls=20 if quick else 500)
    figures = [Figure.of(each.what, silent.over(each.subject, each.base), "µs") for each in _ABOVE_A_STORE]
    loud = _with_server(url, quick=quick)
    figures.append(Figure.of("with a server: a bare socket, two EVALSHA", loud.micros("raw"), "µs"))
    figures += [Figure.of(f"+ {each.what}", loud.over(each.subject, each.base), "µs") for each in _WITH_A_SERVER]
    return Part("profile", "µs of acquire + release", figures)


def _without_server() -> dict[str, Subject]:
    store = SilentStore()
    guard = Guard(store)
    return {
        "nothing": lambda: None,
        "claim": _claim,
        "redis store": _store(RedisStore(_SilentWire())),
        "store": _store(store),
        "guard": _guard(guard),
        "lock": reused(Lock(guard, "key", ttl=TTL)),
        "beating": reused(Lock(guard, "key", ttl=TTL, heartbeat=True)),
        "new lock": made_anew(lambda: Lock(guard, "key", ttl=TTL)),
        "run": lambda: guard.run(_claim(), lambda _: None, lambda _: None),
    }


def _with_server(url: str, *, quick: bool) -> Rounds:
    locks = Locks(url)
    with redis.Redis.from_url(url) as client, _connection(url) as connection:
        subjects = {
            "raw": _raw(connection),
            "bare": bare(client),
            BARE_OURS: bare_with_our_scripts(client),
            "store": the_store(locks),
            "lock": reused(locks.lock("layers", ttl=TTL)),
        }
        times = Rounds.timed(subjects, rounds=5 if quick else 300, calls=10 if quick else 50)
    locks.close()
    return times


def _claim() -> Claim:
    return Claim("key", new_owner(), TTL)


def _store(store: Store) -> Subject:
    claim = _claim()

    def both() -> None:
        store.acquire(claim)
        store.release(claim)

    return both


def _guard(guard: Guard) -> Subject:
    claim = _claim()

    def both() -> None:
        lease = guard.enter(claim)
        if isinstance(lease, Lease):
            guard.leave(lease)

    return both


def _connection(url: str) -> socket.socket:
    address = urlsplit(url)
    connection = socket.create_connection((address.hostname or "localhost", address.port or 6379))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _raw(connection: socket.socket) -> Subject:
    """The floor: both requests written out beforehand. Their scripts must be loaded: `bare` does it."""
    take = _command("EVALSHA", _sha(TAKE), "1", "raw", "owner", "30000")
    give_back = _command("EVALSHA", _sha(GIVE_BACK), "1", "raw", "owner")

    def both() -> None:
        for request in (take, give_back):
            connection.sendall(request)
            if connection.recv(64) != b":1\r\n":
                raise RuntimeError("the server refused the floor's scripts")

    return both


def _sha(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def _command(*words: str) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)
