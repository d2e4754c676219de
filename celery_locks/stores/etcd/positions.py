"""How far a schedule has come, in etcd: a key each, and a head that says as which write of which fence.

Every transaction raises the head, and does nothing where that is higher already. So it is a text whose order is that of
the numbers in it.
"""

from __future__ import annotations

import abc
from functools import partial
from typing import TYPE_CHECKING

from celery_locks.stores.etcd import messages
from celery_locks.stores.etcd.naming import escaped, positions_name, unescaped
from celery_locks.stores.positions import Positions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from celery_locks.stores.etcd.messages import Body
    from celery_locks.stores.etcd.wire import Talk


class EtcdPositions(Positions, abc.ABC):
    """The part of the store that keeps positions. They are under no lease: a schedule may rest for a year."""

    prefix: str

    def take_up(self, schedule: str, fence: int) -> dict[str, str] | None:
        head = positions_name(self.prefix, schedule)
        begin, at = f"{head}/", _at(fence, 0)
        with self._talk() as talk:
            answer = _advanced(talk, at, partial(messages.advance, head, at, begin=begin))
        standing, texts = messages.found_all(answer)
        # It may be ours already: what was written since then counts.
        if not answer.get("succeeded") and not any(each.owner.startswith(_padded(fence)) for each in standing):
            return None
        return {unescaped(each.name.removeprefix(begin)): each.owner for each in texts}

    def put(self, schedule: str, fence: int, number: int, texts: Mapping[str, str | None]) -> bool:
        head = positions_name(self.prefix, schedule)
        changes = [_change(f"{head}/{escaped(name)}", text) for name, text in texts.items()]
        parts = [changes[start : start + messages.AT_ONCE] for start in range(0, len(changes), messages.AT_ONCE)]
        # The same number again is the same write: it may come twice, and be of several parts.
        at, below = _at(fence, number), _at(fence, number + 1)
        with self._talk() as talk:
            requests = [partial(messages.advance, head, at, then=part) for part in parts or [[]]]
            return all(_advanced(talk, below, request).get("succeeded") for request in requests)

    @abc.abstractmethod
    def _talk(self, timeout: float | None = None) -> AbstractContextManager[Talk]: ...


def _advanced(talk: Talk, below: str, request: Callable[..., Body]) -> Body:
    """The answer to a request to raise the head if it is below something."""
    answer: Body = {}
    # A head that is not there is below nothing. It is made then, or another has just made it.
    for bound in (below, None, below):
        answer = talk.ask(messages.TXN, request(below=bound))
        if answer.get("succeeded") or (bound and messages.found_all(answer)[0]):
            break
    return answer


def _change(name: str, text: str | None) -> Body:
    (change,) = (messages.unsay(name) if text is None else messages.say(name, text))["success"]
    return dict(change)


def _at(fence: int, number: int) -> str:
    return f"{_padded(fence)}.{_padded(number)}"


def _padded(number: int) -> str:
    return f"{number:020}"
