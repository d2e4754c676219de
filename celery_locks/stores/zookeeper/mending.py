"""What to do about an error of ZooKeeper, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kazoo.exceptions import (
    AuthFailedError,
    InvalidACLError,
    KazooException,
    NoAuthError,
    NoChildrenForEphemeralsError,
    QuotaExceededError,
)
from kazoo.handlers.threading import KazooTimeoutError

from celery_locks.errors import StoreUnavailable

if TYPE_CHECKING:
    from celery_locks.stores.zookeeper.address import Address

_LOGIN = "write zookeeper://user:password@host as the nodes' creator, or change their ACL (setAcl)"
_ADVICE = {
    NoAuthError: f"this user may not do that there: {_LOGIN}",
    AuthFailedError: f"the login was refused: {_LOGIN}",
    InvalidACLError: "the ACL was refused: write user:password@ into the URL, or ?acl=open",
    NoChildrenForEphemeralsError: "the chroot leads through a node that may have no children: choose another one",
    QuotaExceededError: "a quota is used up there: raise it (setquota), or choose another chroot",
}
_ELSE = (
    "check that a majority of its servers runs, that the URL is right (?use_ssl=true&ca=... for TLS), and that"
    " maxClientCnxns allows a connection a process; the time allowed is ?timeout="
)

#: All that kazoo may raise instead of an answer.
OUTAGE = (KazooException, KazooTimeoutError, OSError)


def outage(address: Address, error: BaseException) -> StoreUnavailable:
    """The error that says in one line what went wrong and how to mend it."""
    advice = next((advice for kind, advice in _ADVICE.items() if isinstance(error, kind)), None)
    what = " ".join(str(error).split()) or type(error).__name__
    if advice:
        return StoreUnavailable(f"{address.shown} refused ({type(error).__name__}): {advice}")
    return StoreUnavailable(f"{address.shown} did not answer ({what}): {_ELSE}{address.timeout:g}")
