"""What etcd's errors mean, and what to do about them, in words."""

from __future__ import annotations

from celery_locks.errors import StoreUnavailable
from celery_locks.stores.mending import remedy, said


class Refused(Exception):
    """etcd said no, with its code and its words."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(words)
        self.code = code
        self.words = words


class LeaseUnknown(Refused):
    """The lease has ended, or was never granted."""


class LeaseKnown(Refused):
    """The lease that was to be granted is there already."""


class Full(Refused):
    """The database has reached its quota: etcd takes nothing new and still gives up what it has."""


class NotNow(Refused):
    """The member cannot say at this moment; it, or another, may be asked again."""


class TokenOver(Refused):
    """The token of our login is not, or no longer, known."""


_UNAVAILABLE, _UNKNOWN, _DEADLINE, _UNAUTHENTICATED = 14, 2, 4, 16

_KINDS: dict[str, type[Refused]] = {
    "requested lease not found": LeaseUnknown,
    "lease already exists": LeaseKnown,
    "database space exceeded": Full,
    "invalid auth token": TokenOver,
    "revision of auth store is old": TokenOver,
    "proposal dropped": NotNow,
    "too many requests": NotNow,
    "leader changed": NotNow,
    "no leader": NotNow,
    "timed out": NotNow,
}


def refusal(code: int, words: str) -> Refused:
    """The error for what a member answered."""
    kind = next((kind for sign, kind in _KINDS.items() if sign in words), None)
    if kind is None:
        kind = NotNow if code in (_UNAVAILABLE, _DEADLINE) else Refused
    return kind(code, words)


_TLS_OR_NOT = "check that it runs, and that the URL says etcds:// where it speaks TLS and etcd:// where it does not"

#: A sign in the error's name or text, and what it asks for. The first that is found counts.
_ADVICE = {
    "invalid user ID or password": "the user or password is wrong: write etcd://user:password@host",
    "authentication is not enabled": "this cluster wants no password: leave it out of the URL",
    "user name is empty": "this cluster wants a login: write etcd://user:password@host",
    "permission denied": "this user may not do that: grant its role readwrite on the prefix of the locks",
    "TokenOver": "the login was not kept: check the members' --auth-token setting",
    "Full": "its database is full: compact and defragment it, disarm the alarm, set --auto-compaction-retention",
    "too large lease TTL": "the ttl is longer than etcd can count: use a shorter one",
    "request is too large": "the key is too long for etcd: use a digest of it",
    "no leader": "the cluster has no leader: are most of its members up?",
    "leader changed": "the cluster has no lasting leader: are its members up, and its disks fast enough?",
    "proposal dropped": "the cluster has no leader: are most of its members up?",
    "CERTIFICATE_VERIFY_FAILED": "its certificate is not trusted: add ?ca_cert=/path/ca.pem",
    "certificate required": "it wants a certificate of ours: add ?cert=/path/cert.pem&key=/path/key.pem",
    "bad certificate": "it does not take our certificate: check ?cert= and ?key=",
    "HTTP request to an HTTPS server": "this server speaks TLS: write etcds://",
    "EOF occurred": _TLS_OR_NOT,
    "closed connection": _TLS_OR_NOT,
    "onnection reset": _TLS_OR_NOT,
    "WRONG_VERSION_NUMBER": "this server does not speak TLS here: write etcd://",
    "wrong version number": "this server does not speak TLS here: write etcd://",
    "record layer failure": "this server does not speak TLS here: write etcd://",
    "is not JSON": "this is no etcd 3.4 or later, or its --enable-grpc-gateway is off",
    "404": "this is no etcd 3.4 or later, or its --enable-grpc-gateway is off",
    "timed out": "it hangs, is overloaded or out of reach; the time allowed is by default ?timeout=5 and"
    " ?try_timeout=1",
    "onnection refused": "no member runs there: check the servers and the URL",
}
_ELSE = "check that the servers run and that the URL is right"


def outage(name: str, error: BaseException) -> StoreUnavailable:
    """The error that says in one line what went wrong and how to mend it."""
    what = said(error)
    did = "refused" if isinstance(error, Refused) and not isinstance(error, NotNow) else "did not answer"
    return StoreUnavailable(f"{name} {did} ({what}): {remedy(_ADVICE, f'{type(error).__name__} {what}', _ELSE)}")
