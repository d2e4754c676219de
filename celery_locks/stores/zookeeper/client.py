"""kazoo's client, which notes until when its session lasts for certain, and which an interrupt leaves whole."""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import time
from typing import TYPE_CHECKING, Any

from kazoo.client import KazooClient
from kazoo.exceptions import AuthFailedError, ConnectionClosedError, SessionExpiredError
from kazoo.protocol.connection import ConnectionHandler
from kazoo.protocol.serialization import Connect, Sync, Transaction
from kazoo.protocol.states import KazooState, KeeperState
from kazoo.retry import KazooRetry
from kazoo.security import CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE

from celery_locks.stores.zookeeper.answer import Answer, Handler

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery_locks.stores.zookeeper.address import Address

#: kazoo tells each step of each reconnection. What matters of it the store says itself.
logger = logging.getLogger("celery_locks.zookeeper.kazoo")
if logger.level == logging.NOTSET:
    logger.setLevel(logging.ERROR)

ACLS = {
    "open": OPEN_ACL_UNSAFE,
    "creator": CREATOR_ALL_ACL,
    "readable": CREATOR_ALL_ACL + READ_ACL_UNSAFE,
}
#: What is answered by the leader alone, whichever server we speak to.
_BY_THE_LEADER = (Sync, Transaction)
#: After this part of a session's time without such a request there is one. kazoo speaks each third of it.
PROOF_AFTER = 0.2
#: For this part of its time a session is believed in after the leader's last word. What a follower heard of us it
#: tells the leader later; if it never comes to that, what the leader knows is one ping older, a third of the time.
BELIEF = 2 / 3
_OVER = {
    KeeperState.AUTH_FAILED: AuthFailedError,
    KeeperState.CLOSED: ConnectionClosedError,
    KeeperState.EXPIRED_SESSION: SessionExpiredError,
}


class _Connection(ConnectionHandler):  # type: ignore[misc]  # kazoo has no types
    """Notes when the last request left that the leader has answered: it has heard of us since.

    The answer to a ping proves nothing. A server that is cut off from the leader gives it, too, while the leader ends
    the session. So there is a request that goes to the leader whenever there was none for a while. kazoo notes neither
    this nor the timeout that was granted, which may be less than was asked for.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.session: int | None = None
        self.granted = 0.0
        self.heard = -math.inf
        self._proving = 0.0
        self._asked: dict[int, float] = {}

    def _invoke(self, timeout: float, request: Any, xid: int | None = None) -> Any:
        before = time.monotonic()
        answer = super()._invoke(timeout, request, xid)
        if isinstance(request, Connect) and answer[0].time_out > 0:
            self._asked.clear()
            self.granted, self.heard, self._proving = answer[0].time_out / 1000, before, before
            self.session = answer[0].session_id
        return answer

    def _submit(self, request: Any, timeout: float, xid: int | None = None) -> None:
        before = time.monotonic()
        if xid and isinstance(request, _BY_THE_LEADER):
            self._asked[xid] = self._proving = before
        elif self.granted and before - self._proving > self.granted * PROOF_AFTER:
            self._proving = before
            self.client.request_proof()
        super()._submit(request, timeout, xid)

    def _read_header(self, timeout: float) -> Any:
        answer = super()._read_header(timeout)
        self.heard = max(self.heard, self._asked.pop(answer[0].xid, -math.inf))
        return answer


class Client(KazooClient):  # type: ignore[misc]  # kazoo has no types
    """One session."""

    def __init__(self, address: Address, on_state: Callable[[str], None]) -> None:
        handler = Handler(min(address.timeout, address.session_timeout / max(1, len(address.hosts))))
        super().__init__(
            hosts=",".join(address.hosts),
            timeout=address.session_timeout,
            handler=handler,
            default_acl=ACLS[address.acl],
            auth_data={("digest", address.login)} if address.login else None,
            connection_retry=KazooRetry(max_tries=-1, delay=0.05, max_delay=0.5, sleep_func=handler.sleep_func),
            logger=logger,
            **address.tls,
        )
        self._connection = _Connection(self, self._conn_retry.copy(), logger=logger)
        self.add_listener(on_state)
        self.live = self._live

    @property
    def session(self) -> int | None:
        """The number of the session, None before the first and after the end of one."""
        number: int | None = self._connection.session
        return None if self.state == KazooState.LOST else number

    @property
    def until(self) -> float:
        """The monotonic time until which the servers keep the session for certain."""
        connection = self._connection
        return float(connection.heard + connection.granted * BELIEF)

    def request_proof(self) -> None:
        """Ask the leader for a word, which nobody awaits. To be called by kazoo's own thread."""
        self._queue.append((Sync("/"), None))
        self._wake()

    def is_dead(self) -> bool:
        """Whether it will never connect again, or never has."""
        return self.client_state in (KeeperState.CLOSED, KeeperState.AUTH_FAILED)

    def forsake(self) -> None:
        """Close the copies that a forked child has of the files, and nothing else: the session is its parent's."""
        atexit.unregister(self.handler.stop)
        connection = self._connection
        for file in (connection._socket, connection._read_sock, connection._write_sock):  # noqa: SLF001 - kazoo has no other way
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()

    def _call(self, request: Any, async_object: Answer) -> bool | None:
        """As kazoo's own, which swallows an interrupt that strikes here.

        Each request is sent for one byte in a pipe. One byte too many is ignored; one too few and each request from
        then on would wait for the next one.
        """
        if over := _OVER.get(self._state):
            async_object.set_exception(over())
            return False
        try:
            self._queue.append((request, async_object))
            self._wake()
        except BaseException:
            self._wake()
            raise
        return None

    def _wake(self) -> None:
        pipe = self._connection._write_sock  # noqa: SLF001 - kazoo has no other way
        with contextlib.suppress(OSError, AttributeError):
            pipe.send(b"\0")
