"""A socket that never waits: connecting, TLS, sending and hearing each go as far as they can at once."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from celery_locks.stores.redlock.address import Place
    from celery_locks.stores.redlock.node import Node

AT_ONCE = 65_536
READ, WRITE = 1, 4
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Watch(Protocol):
    """Wakes nodes when there is something to hear or room to speak."""

    def watch(self, node: Node, number: int, events: int) -> None: ...

    def forget(self, number: int) -> None: ...


class Link:
    """One connection to one address of a node. What breaks it is an `OSError`."""

    def __init__(self, place: Place, address: tuple[Any, ...]) -> None:
        family, kind, protocol, _, where = address
        self._place = place
        self._socket = socket.socket(family, kind, protocol)
        self._connected = self._shaken = False
        self._wants = WRITE
        try:
            self._socket.setblocking(False)  # noqa: FBT003 - the standard library's own
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            with contextlib.suppress(BlockingIOError):
                self._socket.connect(where)
        except BaseException:
            self._socket.close()
            raise
        self.number = self._socket.fileno()

    def opened(self) -> bool:
        """Whether it is connected, and TLS agreed upon; goes a step further towards that."""
        if not self._connected:
            if error := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, os.strerror(error))
            self._connected = True
            if tls := self._place.tls:
                self._socket = tls.wrap_socket(
                    self._socket, server_hostname=self._place.host, do_handshake_on_connect=False
                )
        if not self._shaken:
            self._shaken = self._shake()
        return self._shaken

    def _shake(self) -> bool:
        if not isinstance(self._socket, ssl.SSLSocket):
            return True
        try:
            self._socket.do_handshake()
        except ssl.SSLWantReadError:
            self._wants = READ
            return False
        except ssl.SSLWantWriteError:
            self._wants = WRITE
            return False
        return True

    def wants(self, *, more: bool) -> int:
        """What to wait for, READ or WRITE or both; `more`: whether there is something left to send."""
        if not self._shaken:
            return self._wants
        return READ | WRITE if more else READ

    def send(self, data: bytes) -> int:
        """How many bytes it took."""
        try:
            return self._socket.send(data)
        except _NOT_NOW:
            return 0

    def receive(self) -> bytes | None:
        """What has arrived: None for nothing yet, no bytes for the end."""
        try:
            return self._socket.recv(AT_ONCE)
        except _NOT_NOW:
            return None

    @property
    def has_more(self) -> bool:
        """Whether TLS has read more from the network than it gave: no poll would tell."""
        return isinstance(self._socket, ssl.SSLSocket) and self._socket.pending() > 0

    def close(self) -> None:
        """End it, without a word: in a forked child it is the parent's."""
        self._socket.close()


class _Select:
    """What `select.poll` does, where there is none: eventlet takes it away."""

    def __init__(self) -> None:
        self._wanted: dict[int, int] = {}

    def register(self, number: int, events: int) -> None:
        self._wanted[number] = events

    def unregister(self, number: int) -> None:
        del self._wanted[number]

    def poll(self, milliseconds: float) -> list[tuple[int, int]]:
        reading = [number for number, events in self._wanted.items() if events & READ]
        writing = [number for number, events in self._wanted.items() if events & WRITE]
        heard, free, _ = select.select(reading, writing, [], milliseconds / 1000)
        return [(number, READ * (number in heard) | WRITE * (number in free)) for number in {*heard, *free}]


def poller() -> Any:
    """What waits for many links at once. It is this process' own: an epoll would be shared with a forked child."""
    return select.poll() if hasattr(select, "poll") else _Select()
