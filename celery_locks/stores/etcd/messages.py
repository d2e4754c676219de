"""What is asked of etcd, as etcd's JSON gateway takes it, and what is read from their answers."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, NamedTuple

from celery_locks.stores.etcd.mending import Refused
from celery_locks.stores.etcd.naming import as_bytes, awaited, members

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from celery_locks.stores.etcd.naming import Names

RANGE, TXN, WATCH = "/v3/kv/range", "/v3/kv/txn", "/v3/watch"
GRANT, REVOKE, KEEP_ALIVE, TIME_LEFT = (f"/v3/lease/{verb}" for verb in ("grant", "revoke", "keepalive", "timetolive"))
#: Of the 128 operations that etcd takes in one transaction.
AT_ONCE = 100

Body = dict[str, Any]

#: Of a range it says that none of its keys is there.
_ABSENT: Body = {"target": "CREATE", "create_revision": 0}
_BY_FENCE: Body = {"sort_order": "ASCEND", "sort_target": "CREATE"}


class Taken(NamedTuple):
    """A lock as etcd shows it."""

    name: str
    owner: str
    fence: int
    lease: int
    #: That of its last change.
    revision: int


def grant(lease: int, ttl: int) -> Body:
    """A lease of so many seconds."""
    return {"ID": lease, "TTL": ttl}


def one(lease: int) -> Body:
    """A lease."""
    return {"ID": lease}


def take(names: Names, lease: int) -> Body:
    """Make the lock if it is not there and its owner was not done with it; else show both."""
    return {
        "compare": [_is_absent(names.lock), _is_absent(names.mark), {**_members(names.base), **_ABSENT}],
        "success": [_put(names.lock, names.owner, lease)],
        "failure": [_get(names.lock), _get(names.mark), _get_members(names.base)],
    }


def join(names: Names, lease: int, revision: int) -> Body:
    """Hold a key with those that had it at that revision, if nobody has come since, nor waits for it alone."""
    since = {"target": "MOD", "result": "LESS", "mod_revision": revision + 1}
    absent = map(_is_absent, (names.base, names.lock, names.mark, awaited(names.base)))
    return {"compare": [*absent, {**_members(names.base), **since}], "success": [_put(names.lock, names.owner, lease)]}


def look_around(names: Names, slots: str) -> Body:
    """All that is to be known before one joins: the lock, its members, the mark, who awaits it, how many may."""
    around = _get(names.base), _get_members(names.base), _get(names.mark), _get(awaited(names.base)), _get(slots)
    return {"success": [*around]}


def say(name: str, value: str, lease: int = 0) -> Body:
    """Write something that is no lock."""
    return {"success": [_put(name, value, lease)]}


def unsay(name: str) -> Body:
    """Take it away."""
    return {"success": [{"request_delete_range": {"key": _coded(name)}}]}


def everyone(base: str) -> Body:
    """All who have a key, those with the lowest fences first, and who awaits it."""
    return {"key": _coded(base), "range_end": _coded(members(base)[1]), **_BY_FENCE}


def give_back(names: Names, marks: int) -> Body:
    """Delete the lock if its owner has it, and mark that owner as done; else show whether it is marked."""
    return {
        "compare": [_is_owned(names)],
        "success": [
            {"request_delete_range": {"key": _coded(names.lock), "prev_kv": True}},
            _put(names.mark, "", marks),
        ],
        "failure": [_get(names.mark)],
    }


def move(names: Names, lease: int, taken: Taken) -> Body:
    """Give the lock another lease if nothing has changed it, nor was its owner done with it; else show it.

    Its fence stays: it is the revision that made the lock.
    """
    compare = {"key": _coded(names.lock), "target": "MOD", "mod_revision": taken.revision}
    return {
        "compare": [compare, _is_absent(names.mark)],
        "success": [_put(names.lock, names.owner, lease)],
        "failure": [_get(names.lock)],
    }


def delete(taken: Taken) -> Body:
    """Delete a lock if it is still the same."""
    compare = {"key": _coded(taken.name), "target": "CREATE", "create_revision": taken.fence}
    return {"compare": [compare], "success": [{"request_delete_range": {"key": _coded(taken.name)}}]}


def note(name: str, lease: int) -> Body:
    """Write a note."""
    return {"success": [_put(name, "", lease)]}


def advance(name: str, value: str, *, below: str | None, then: Sequence[Body] = (), begin: str = "") -> Body:
    """Write what is there and below that, or not there when that is None, and do more with it; else show it.

    In both cases show all whose names begin so, if anything is given.
    """
    shown = [{"request_range": all_from(begin)}] if begin else []
    lower = {"key": _coded(name), "target": "VALUE", "result": "LESS"}
    compare = _is_absent(name) if below is None else {**lower, "value": _coded(below)}
    return {"compare": [compare], "success": [_put(name, value, 0), *then, *shown], "failure": [_get(name), *shown]}


def look(name: str) -> Body:
    """One lock."""
    return {"key": _coded(name)}


def look_at(names: Iterable[str]) -> Body:
    """Several locks at one moment."""
    return {"success": [_get(name) for name in names]}


def look_through(begin: str, last: str | None, limit: int) -> Body:
    """The locks whose names begin so, from after the last one, a page of them."""
    page = {**all_from(begin), "limit": limit}
    return page if last is None else {**page, "key": _base64(last.encode("utf-8", "surrogateescape") + b"\0")}


def all_from(begin: str) -> Body:
    """All whose names begin so."""
    first = as_bytes(begin)
    return {"key": _base64(first), "range_end": _base64(first[:-1] + bytes([first[-1] + 1]))}


def watch(base: str) -> Body:
    """Tell when one who has the key is deleted, from now on. That it is put under another lease is not told."""
    return {"create_request": {"key": _coded(base), "range_end": _coded(members(base)[1]), "filters": ["NOPUT"]}}


def began(answer: Body) -> int:
    """The revision after which a watch tells all. Raises `Refused` when there is none."""
    if answer.get("canceled") or not answer.get("created"):
        raise Refused(0, str(answer.get("cancel_reason", "no watch")))
    return revision(answer)


def revision(answer: Body) -> int:
    """The revision at which it was answered."""
    return int(answer["header"]["revision"])


def term(answer: Body) -> int:
    """The term of the leader under which it was answered."""
    return int(answer["header"]["raft_term"])


def shown(answer: Body) -> Iterator[Taken]:
    """The locks in the answer to a look."""
    return map(_taken, answer.get("kvs", ()))


def found(answer: Body) -> list[Taken | None]:
    """What each operation of a transaction found first."""
    return [next(iter(page), None) for page in found_all(answer)]


def found_all(answer: Body) -> list[list[Taken]]:
    """All that each operation of a transaction found."""
    kinds = ("response_range", "response_delete_range")
    pages: list[Body] = [
        next((each[kind] for kind in kinds if kind in each), {}) for each in answer.get("responses", ())
    ]
    return [[*map(_taken, page.get("kvs") or page.get("prev_kvs") or ())] for page in pages]


def _taken(kept: Body) -> Taken:
    return Taken(
        _decoded(kept.get("key", "")),
        _decoded(kept.get("value", "")),
        int(kept["create_revision"]),
        int(kept.get("lease", 0)),
        int(kept["mod_revision"]),
    )


def _is_absent(name: str) -> Body:
    return {"key": _coded(name), **_ABSENT}


def _members(base: str) -> Body:
    first, end = members(base)
    return {"key": _coded(first), "range_end": _coded(end)}


def _get_members(base: str) -> Body:
    return {"request_range": {**_members(base), **_BY_FENCE}}


def _is_owned(names: Names) -> Body:
    return {"key": _coded(names.lock), "target": "VALUE", "value": _coded(names.owner)}


def _get(name: str) -> Body:
    return {"request_range": {"key": _coded(name)}}


def _put(name: str, value: str, lease: int) -> Body:
    return {"request_put": {"key": _coded(name), "value": _coded(value), "lease": lease}}


def _coded(text: str) -> str:
    return _base64(as_bytes(text))


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decoded(text: str) -> str:
    return base64.b64decode(text).decode("utf-8", "surrogateescape")
