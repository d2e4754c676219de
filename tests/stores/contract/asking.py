"""How tests ask a store for a key."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, Protocol

from celery_locks.lease import Busy, Claim, Lease, Verdict
from celery_locks.stores import DEFAULT_PREFIX, Inspects, Store
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable


class Opens(Protocol):
    """Gives a store object of its own, a client of the same locks as all others it gave."""

    def __call__(self, *, prefix: str = DEFAULT_PREFIX) -> Store: ...


#: What a key made from a job's arguments may look like.
ODD_KEYS = {
    "spaces": " a  key with spaces ",
    "unicode": "Зарплата/東京/🔑",
    "composed": "caf\u00e9",
    "decomposed": "cafe\u0301",
    "braces": "wallet:{42}:}{",
    "percent": "100%25%7D%",
    "star": "*",
    "question": "what?[ab]",
    "slashes": "../../etc/passwd",
    "dots": "..",
    "newlines": "first\nsecond\r\n\tthird",
    "quotes": "'\"; DROP TABLE locks; --\\",
    "capitals": "WALLET:a",
    "no capitals": "wallet:a",
    "very long": "x" * 1999 + "1",
    "as long": "x" * 1999 + "2",
    "long unicode": "東京" * 500,
}


def claim(key: str, owner: str = "anna", ttl: float = 30.0) -> Claim:
    return Claim(key, owner, ttl)


def take(store: Store, key: str, owner: str = "anna", ttl: float = 30.0) -> Lease:
    """Acquire what must be free."""
    answer = store.acquire(claim(key, owner, ttl))
    assert isinstance(answer, Lease), f"{key!r} should be free for {owner}, not {answer}"
    return answer


def refused(store: Store, key: str, owner: str = "ben") -> Busy:
    """Ask for what must be taken."""
    answer = store.acquire(claim(key, owner))
    assert isinstance(answer, Busy), f"{key!r} should be taken, and {owner} got {answer}"
    return answer


def verdict(store: Store, lease: Lease) -> Verdict:
    return store.renew([lease])[0]


def verbs(store: Store, lease: Lease) -> list[Callable[[], object]]:
    """Whatever can be asked of a store that shows what it holds; the key `other` is taken, if it can be."""
    assert isinstance(store, Inspects)
    return [
        lambda: store.acquire(claim("other")),
        lambda: store.renew([lease]),
        lambda: store.release(lease.claim),
        lambda: store.inspect(lease.key),
        lambda: list(store.list()),
    ]


def patient(store: Store, key: str, owner: str, timeout: float = 60.0) -> Lease:
    """Ask until the key is free, as a waiter without a wake does."""

    def got() -> Lease | None:
        answer = store.acquire(claim(key, owner))
        return answer if isinstance(answer, Lease) else None

    # Waiters that ask in step would ask all at once for ever, and a crowd that asks more often does little else.
    return wait_until(got, f"{key!r} to be free for {owner}", timeout, interval=random.uniform(0.01, 0.08))


def hears_its_own(store: Store, rounds: int = 20) -> None:
    """Each request is answered by its own answer, and not by what came late to one before."""
    for number in range(rounds):
        assert take(store, f"key {number}", f"owner {number}").owner == f"owner {number}"
        assert refused(store, f"key {number}", "cleo").holder == f"owner {number}"
        assert store.inspect("none") is None


def goes_on_alone(store: Store, who: int, turns: int) -> None:
    """One of many who use a store at once hears its own answers, about a key of its own."""
    for turn in range(turns):
        owner = f"child {who}.{turn}"
        assert take(store, f"key {who}", owner).owner == owner
        assert refused(store, f"key {who}", "nobody").holder == owner
        assert store.release(claim(f"key {who}", owner))


def run_out(lease: Lease) -> None:
    """Wait until a lease that was just given has run out, in the store as well.

    Nobody looks: a look might be what makes a store clear up.
    """
    end = time.monotonic() + lease.ttl + 0.02
    wait_until(lambda: time.monotonic() > end, f"the end of {lease}")
    assert not lease.held()


def in_threads(count: int, job: Callable[[str], None]) -> None:
    """Do it in so many threads at once, each with a name of its own."""
    errors: list[BaseException] = []

    def run(name: str) -> None:
        try:
            job(name)
        except BaseException as error:  # noqa: BLE001 - raised again in the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=run, args=(f"thread {number}",)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]
