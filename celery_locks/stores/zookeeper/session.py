"""The one session that a process has with ZooKeeper, in which all its locks live."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from kazoo.exceptions import ConnectionLoss, NoNodeError, SessionExpiredError, SessionMovedError
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KazooState

from celery_locks.stores.zookeeper.answer import Answer
from celery_locks.stores.zookeeper.client import Client
from celery_locks.stores.zookeeper.known import Known
from celery_locks.stores.zookeeper.names import crowded
from celery_locks.stores.zookeeper.steps import sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kazoo.protocol.states import WatchedEvent

    from celery_locks.stores.zookeeper.address import Address
    from celery_locks.stores.zookeeper.names import Name

    Request = Callable[[Client], Sequence[Answer]]

#: Nobody knows whether the request was done. All of ours may be repeated.
BROKEN = (ConnectionLoss, SessionExpiredError, SessionMovedError)


class Session:
    """Opened at the first request, and anew in a forked child. kazoo's thread keeps it alive, and reconnects.

    A lock lives as long as its session does, perhaps for days: what is to be given back while ZooKeeper cannot be
    reached is remembered, and given back when it can.
    """

    def __init__(self, address: Address) -> None:
        self._address = address
        self._start_afresh()
        _sessions.add(self)

    def _start_afresh(self) -> None:
        self._client: Client | None = None
        self._mutex = threading.Lock()
        self._watching: dict[Answer, str] = {}
        self.known = Known()

    @property
    def number(self) -> int | None:
        """ZooKeeper's number for it; None while there is none."""
        return self._client.session if self._client else None

    def keeps(self, number: int) -> bool:
        """Whether the server keeps what lives in the session of this number, for certain."""
        client = self._client
        # In this order: what a new session has heard says nothing of the old one.
        until = client.until if client else 0.0
        return time.monotonic() < until and self.number == number

    def ask(self, request: Request, *, lasting: bool = False) -> list[Any]:
        """The answers, None where there is no such node. Asked again after a broken connection while time is left.

        `lasting`: not for longer than the session lasts for certain.
        """
        deadline = time.monotonic() + self._address.timeout
        while True:
            client = self._connected(min(deadline, self._client.until) if lasting and self._client else deadline)
            try:
                return [self._heard(answer, client, lasting=lasting) for answer in request(client)]
            except BROKEN:
                if time.monotonic() >= deadline:
                    raise

    def watch(self, path: str, seconds: float, version: int | None = None) -> None:
        """Return when the node is gone, or the connection on which that would be told; after so long in any case.

        `version`: also when those below it are others than they were at this one.
        """
        deadline = time.monotonic() + seconds
        gone = Answer()
        self._watching[gone] = path
        try:
            client = self._connected(min(deadline, time.monotonic() + self._address.timeout))
            if version is None:
                client.get_async(path, watch=self._changes).rawlink(partial(_woken, gone))
            else:
                seen = client.get_children_async(path, watch=self._changes, include_data=True)
                seen.rawlink(partial(_changed, gone, version))
            gone.get(timeout=deadline - time.monotonic())
        except KazooTimeoutError:
            if time.monotonic() < deadline:
                raise
        finally:
            self._watching.pop(gone, None)

    def leave(self, name: Name) -> bool:
        """Give back what this process took under this name; whether it did, now or before."""
        self.known.leave(name)
        (results,) = self.ask(lambda client: [self._leaving(client, name)])
        self.known.left(name, results, self.number)
        return name.mark in self.known.done

    def give_up(self, name: Name) -> None:
        """Undo a request that nobody waits for any more, whenever it was or will be done."""
        self.known.leave(name)
        self.known.done.add(name.mark)
        if self._client and self._client.live.is_set():
            # It goes the same way right behind the request: what comes in one session is done in order. While there is
            # no way it is said when there is one.
            self._leaving(self._client, name)

    def close(self) -> None:
        """End the session, and with it all that lives in it."""
        client, self._client = self._client, None
        self.known = Known()
        if client:
            _end(client, self._address.timeout)

    def forsake(self) -> None:
        """Leave the session to the process that forked this one."""
        client = self._client
        self._start_afresh()
        if client:
            client.forsake()

    def _heard(self, answer: Answer, client: Client, *, lasting: bool) -> Any:
        # Of many requests each has its time: as long as answers come the servers are there.
        deadline = time.monotonic() + self._address.timeout
        with contextlib.suppress(NoNodeError):
            while True:
                # What is heard meanwhile may prolong the session.
                until = min(deadline, client.until) if lasting else deadline
                try:
                    return answer.get(timeout=until - time.monotonic())
                except KazooTimeoutError:
                    if time.monotonic() >= (min(deadline, client.until) if lasting else deadline):
                        raise
        return None

    def _leaving(self, client: Client, name: Name) -> Answer:
        self.known.asked(name)
        both = client.transaction()
        both.delete(name.mark)
        both.delete(name.lock)
        answer: Answer = both.commit_async()
        answer.rawlink(partial(self._left, self.known, name))
        if name.crowd:
            sweep(client, name.crowd)
        return answer

    def _left(self, known: Known, name: Name, answer: Answer) -> None:
        # Unanswered it is said again when there is a connection.
        if answer.exception is None:
            known.left(name, answer.value, self.number)

    def _changes(self, event: WatchedEvent) -> None:
        # One and the same for all who wait: kazoo keeps each watcher it is given until the node changes. No path is
        # named when the connection broke.
        for gone, path in list(self._watching.items()):
            if event.path in (path, None):
                gone.set()

    def _connected(self, deadline: float) -> Client:
        client = self._client or self._started(deadline)
        if not client.live.wait(deadline - time.monotonic()):
            if client.is_dead():
                self._forget(client)
            raise KazooTimeoutError("no connection")
        return client

    def _started(self, deadline: float) -> Client:
        # By a thread of its own, for an interrupt strikes the main thread alone: a client that is half started would
        # leave its threads behind.
        answer = Answer()
        threading.Thread(target=self._start, args=(answer,), name="celery_locks-zookeeper-start", daemon=True).start()
        client: Client = answer.get(timeout=deadline - time.monotonic())
        return client

    def _start(self, answer: Answer) -> None:
        try:
            with self._mutex:
                if self._client is None:
                    client = Client(self._address, lambda state: self._changed(client, state), self._holds)
                    client.start_async()
                    self._client = client
                answer.set(self._client)
        except Exception as error:  # noqa: BLE001 - raised again by whoever waits
            answer.set_exception(error)

    def _holds(self) -> bool:
        return bool(self.known.mine)

    def _changed(self, client: Client, state: str) -> None:
        if state == KazooState.CONNECTED and client is self._client:
            for name in self.known.still_to_leave():
                self._leaving(client, name)

    def _forget(self, client: Client) -> None:
        """It never found a server's address, or its thread has died: the next request starts another."""
        if self._client is client:
            self._client = None
        _end(client, 0.0)


def _woken(gone: Answer, seen: Answer) -> None:
    # There is no such node, or nobody knows; or it is that of several now, of whom each may leave.
    if seen.exception is not None or crowded(seen.value[0]):
        gone.set()


def _changed(gone: Answer, version: int, seen: Answer) -> None:
    if seen.exception is not None or seen.value[1].cversion != version:
        gone.set()


def _end(client: Client, patience: float) -> None:
    """Say goodbye, and do not wait for long: a server that hangs ends the session when its time is over."""
    ending = threading.Thread(target=_ended, args=(client,), name="celery_locks-zookeeper-end", daemon=True)
    ending.start()
    ending.join(patience)


def _ended(client: Client) -> None:
    # Whatever goes wrong with it, it is not used again.
    with contextlib.suppress(Exception):
        client.stop()
        client.close()


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _forsake_all() -> None:
    for session in list(_sessions):
        session.forsake()


os.register_at_fork(after_in_child=_forsake_all)
