"""How a store asks ZooKeeper: what went wrong is said in one line, with how to mend it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from kazoo.exceptions import RolledBackError, ZookeeperError

from celery_locks.stores.zookeeper.mending import OUTAGE, outage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from celery_locks.errors import StoreUnavailable
    from celery_locks.stores.zookeeper.address import Address
    from celery_locks.stores.zookeeper.answer import Answer
    from celery_locks.stores.zookeeper.client import Client
    from celery_locks.stores.zookeeper.session import Session

    Request = Callable[[Client], Sequence[Answer]]


class Asking:
    """Requests in one session. An answer is None where there is no such node."""

    def __init__(self, session: Session, address: Address, synced: str) -> None:
        self._session = session
        self._address = address
        self._synced = synced

    def ask(self, request: Request, *, lasting: bool = False) -> list[Any]:
        """The answers. `lasting`: not for longer than the session lasts for certain."""
        with self.speaking():
            return self._session.ask(request, lasting=lasting)

    def look(self, request: Request, *, lasting: bool = False) -> list[Any]:
        """The same of what is true now: the server we speak to may lag behind the others."""
        return self.ask(lambda client: [client.sync_async(self._synced), *request(client)], lasting=lasting)[1:]

    def look_at(self, node: str) -> Any:
        """What is written in a node now, and its stat; None when it is not there."""
        return self.look(lambda client: [client.get_async(node)])[0]

    def do(self, steps: Callable[[Client], Answer]) -> list[Any]:
        """What came of each step of a transaction."""
        (results,) = self.ask(lambda client: [steps(client)])
        return list(results)

    def outage(self, error: BaseException) -> StoreUnavailable:
        """What to raise for an error."""
        return outage(self._address, error)

    @contextlib.contextmanager
    def speaking(self) -> Iterator[None]:
        """Whatever kazoo raises in the body is an outage."""
        try:
            yield
        except OUTAGE as error:
            raise self.outage(error) from error


def refusal(results: Sequence[Any]) -> ZookeeperError | None:
    """Why a transaction was not done; None when it was. Of its steps only the one that failed says why."""
    failed = [result for result in results if isinstance(result, ZookeeperError)]
    told = [each for each in failed if not isinstance(each, RolledBackError)]
    return told[0] if told else None
