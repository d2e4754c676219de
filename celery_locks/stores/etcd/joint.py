"""What is asked of etcd about several keys at one moment, made from what is asked about each."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

from celery_locks.stores.etcd import messages

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from celery_locks.stores.etcd.messages import Body, Taken
    from celery_locks.stores.etcd.naming import Names

#: What is compared of each key: the lock, the mark of its owner, and who shares it.
COMPARED = 3
#: So many keys can be taken at one moment.
MOST = messages.AT_ONCE // COMPARED


class Around(NamedTuple):
    """A key at that moment."""

    lock: list[Taken]
    mark: list[Taken]
    members: list[Taken]


def take(names: Iterable[Names], lease: int) -> Body:
    """Make all these locks if each of them can be made, or none: then show what is around each."""
    single = [messages.take(each, lease) for each in names]
    return {part: _joined(each[part] for each in single) for part in ("compare", "success", "failure")}


def look(names: Iterable[Names]) -> Body:
    """Show what is around each."""
    return {"success": take(names, 0)["failure"]}


def around(answer: Body) -> Iterator[Around]:
    """What was shown, key by key."""
    found = messages.found_all(answer)
    return (Around(*found[place : place + COMPARED]) for place in range(0, len(found), COMPARED))


def give_back(names: Iterable[Names], marks: int) -> Body:
    """Give each of these locks back that its owner has, whatever becomes of the others."""
    return {"success": [_each(messages.give_back(each, marks)) for each in names]}


def give_up(names: Iterable[Names], held: Collection[Names], marks: int) -> Body:
    """Mark their owner as done, and delete those of them that may be held if it has them."""

    def given_up(each: Names) -> Sequence[Body]:
        marked: Sequence[Body] = messages.note(each.mark, marks)["success"]
        return [_each({**messages.give_back(each, marks), "failure": marked})] if each in held else marked

    return {"success": _joined(map(given_up, names))}


def each_answer(answer: Body) -> list[Body]:
    """What was answered to each."""
    return [part["response_txn"] for part in answer["responses"]]


def _each(request: Body) -> Body:
    return {"request_txn": request}


def _joined(parts: Iterable[Sequence[Any]]) -> list[Any]:
    return [*itertools.chain.from_iterable(parts)]
