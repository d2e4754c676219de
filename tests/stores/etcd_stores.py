"""What the tests of the etcd store share: how one is opened, and what is in the server then."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

from celery_locks.errors import StoreUnavailable
from celery_locks.stores.etcd import EtcdStore
from celery_locks.stores.etcd.naming import Names
from tests.stores.contract import asking
from tests.stores.places import Place, opener
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.lease import Claim, Lease
    from tests.servers.etcd import EtcdServer

#: The name of the key `wallet`.
LOCK = "lock:{wallet}"
#: Where a test waits for a timeout it need not be the default one.
QUICK = "/?try_timeout=0.3"
BRIEF = "/?timeout=0.6&try_timeout=0.3"


opened = opener(EtcdStore)


@contextlib.contextmanager
def _ready(url: str, query: str = QUICK) -> Iterator[EtcdStore]:
    with opened(url + query) as store:
        wait_until(lambda: _has_begun(store), "etcd to answer within a test's short timeouts")
        yield store


def _has_begun(store: EtcdStore) -> bool:
    """Whether it also has a lease for marks."""
    with contextlib.suppress(StoreUnavailable):
        return bool(store.release(asking.take(store, "first").claim))
    return False


def place_of(url: str, query: str = QUICK) -> Place:
    return Place(url, opened, functools.partial(_ready, query=query))


def run_out(server: EtcdServer, lease: Lease) -> None:
    """Wait until a lease has run out, for its holder and in etcd."""
    asking.run_out(lease)
    base = f"lock:{{{lease.key}}}"

    def has_ended() -> bool:
        kept = server.kept()
        return not any(name.startswith(base) and owner == lease.owner for name, owner in kept.items())

    wait_until(has_ended, f"etcd to end {lease}")


def number_of(store: EtcdStore, claim: Claim) -> int:
    """The lease that the store knows an owner to have."""
    granted = store._leases.of(Names.of(store.prefix, claim.key, claim.owner))
    assert granted
    return granted.number


def marks(server: EtcdServer) -> list[str]:
    """The marks of owners that are done."""
    return [name for name in server.kept() if name.startswith("lock:done:")]
