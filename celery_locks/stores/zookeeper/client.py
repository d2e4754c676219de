"""kazoo's client, which notes until when its session lasts for certain, and which an interrupt leaves whole."""

from __future__ import annotations

import atexit
import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

from kazoo.client import KazooClient
from kazoo.exceptions import AuthFailedError, ConnectionClosedError, ConnectionDropped, SessionExpiredError
from kazoo.protocol.connection import ConnectionHandler
from kazoo.protocol.serialization import CheckVersion, Connect, Exists, Transaction
from kazoo.protocol.states import KazooState, KeeperState
from kazoo.retry import KazooRetry
from kazoo.security import CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, READ_ACL_UNSAFE

from celery_locks.stores.zookeeper.answer import Answer, Handler
from celery_locks.stores.zookeeper.proof import Proof

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
#: A write that changes nothing, which a majority must agree to, and a look that any server answers by itself.
WORD, SIGN = Transaction([CheckVersion("/", -1)]), Exists("/", None)
#: A session that lost its connection is asked for so often at least before its time is over, and after so many seconds.
TRIES, SOONEST, LATEST = 4, 1.0, 5.0
_OVER = {
    KeeperState.AUTH_FAILED: AuthFailedError,
    KeeperState.CLOSED: ConnectionClosedError,
    KeeperState.EXPIRED_SESSION: SessionExpiredError,
}


class _Connection(ConnectionHandler):  # type: ignore[misc]  # kazoo has no types
    """Tells the proof what was asked and answered: kazoo notes neither, nor the timeout that was granted.

    A word of the leader is a write that changes nothing. A ping is answered by any server, also by one that is cut off
    from the leader; a sync also by a leader that has been replaced and does not know it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.session: int | None = None
        self.proof = Proof()

    def look_after(self) -> float:
        """Speak when it is time to; the seconds until it is time again. For kazoo's thread, while it waits."""
        now = time.monotonic()
        if self.proof.is_mute(now):
            raise ConnectionDropped("the server has not answered for too long")
        if self.proof.due(now) <= 0:
            self.proof.expect(now)
            # Whoever holds nothing needs no proof. But that we were heard before a lock was taken counts for it.
            self.client.say(WORD if self.client.is_needed() else SIGN)
        return self.proof.due(now)

    def _invoke(self, timeout: float, request: Any, xid: int | None = None) -> Any:
        if isinstance(request, Connect):
            # A server that has just started may never answer this. The session is not to end while we wait for it.
            timeout = min(timeout, max(SOONEST, min(LATEST, self.client.session_timeout / TRIES)))
        before = time.monotonic()
        answer = super()._invoke(timeout, request, xid)
        if isinstance(request, Connect) and answer[0].time_out > 0:
            self.proof.opened(before, time.monotonic(), answer[0].time_out / 1000)
            self.session = answer[0].session_id
        return answer

    def _submit(self, request: Any, timeout: float, xid: int | None = None) -> None:
        if xid:
            self.proof.asked(xid, time.monotonic(), of_the_leader=isinstance(request, Transaction))
        super()._submit(request, timeout, xid)

    def _read_header(self, timeout: float) -> Any:
        answer = super()._read_header(timeout)
        self.proof.answered(answer[0].xid, time.monotonic(), well=not answer[0].err)
        return answer


class Client(KazooClient):  # type: ignore[misc]  # kazoo has no types
    """One session."""

    def __init__(
        self, address: Address, on_state: Callable[[str], None], is_needed: Callable[[], object] = lambda: True
    ) -> None:
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
        self.is_needed = is_needed
        self.session_timeout = address.session_timeout
        self._connection = _Connection(self, self._conn_retry.copy(), logger=logger)
        handler.look_after = self._connection.look_after
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
        return float(self._connection.proof.until)

    def say(self, request: Any) -> None:
        """Send a request whose answer nobody awaits. For kazoo's own thread."""
        self._queue.append((request, None))
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
