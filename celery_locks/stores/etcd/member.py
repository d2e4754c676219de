"""One member of a cluster, and the connections kept to it."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from celery_locks.stores.etcd.address import Address

    #: Status and next line of an answer, for so many seconds at most.
    Line = Callable[[float], tuple[int, bytes]]

#: A socket that may wait for no time at all does not even read what is there.
SOON = 0.001


class Member:
    """Posts to one server over connections that are kept, one a thread that speaks at the same time.

    A connection on which something was interrupted, a soft time limit or Ctrl-C among it, is ended: the next to use
    it would hear an answer that is not its own.
    """

    def __init__(self, host: str, port: int, address: Address) -> None:
        self.host = host
        self.port = port
        self._address = address
        self._idle: list[http.client.HTTPConnection] = []
        self._pid = os.getpid()

    def post(self, path: str, payload: bytes, headers: Mapping[str, str], timeout: float) -> tuple[int, bytes]:
        """The answer's status and body."""
        connection = self._taken()
        try:
            connection.timeout = timeout
            if connection.sock is not None:
                connection.sock.settimeout(timeout)
            connection.request("POST", path, payload, headers)
            answer = connection.getresponse()
            body = answer.read()
        except BaseException as error:
            connection.close()
            if isinstance(error, OSError):
                # It may have died while nobody used it, and the others with it.
                self.hang_up()
            raise
        self._idle.append(connection)
        return answer.status, body

    @contextlib.contextmanager
    def stream(self, path: str, payload: bytes, headers: Mapping[str, str], timeout: float) -> Iterator[Line]:
        """An answer without end, on a connection of its own: gives its next line, waiting so long for it."""
        connection = self._new()
        try:
            connection.timeout = timeout
            connection.request("POST", path, payload, headers)
            sock, answer = connection.sock, connection.getresponse()

            def line(patience: float) -> tuple[int, bytes]:
                sock.settimeout(max(SOON, patience))
                return answer.status, answer.readline()

            yield line
        finally:
            if connection.sock is not None:
                # A child that was forked meanwhile has a copy: without a word the server would go on telling.
                with contextlib.suppress(OSError):
                    connection.sock.shutdown(socket.SHUT_RDWR)
            connection.close()

    def hang_up(self) -> None:
        """End the connections that nobody speaks on."""
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()

    def _taken(self) -> http.client.HTTPConnection:
        if self._pid != os.getpid():
            # Those of the parent are the parent's. Closed here, they stay open there.
            theirs, self._idle, self._pid = self._idle, [], os.getpid()
            for each in theirs:
                each.close()
        try:
            return self._idle.pop()
        except IndexError:
            return self._new()

    def _new(self) -> http.client.HTTPConnection:
        if not self._address.tls:
            return http.client.HTTPConnection(self.host, self.port)
        return http.client.HTTPSConnection(self.host, self.port, context=self._trust())

    def _trust(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._address.ca_cert)
        if self._address.cert:
            context.load_cert_chain(self._address.cert, self._address.key)
        return context


def is_nobody_there(error: BaseException) -> bool:
    """Whether it says at once that no server of ours is there, instead of leaving it open."""
    if isinstance(error, ssl.SSLError):
        return not isinstance(error, ssl.SSLEOFError)
    return isinstance(error, (ConnectionRefusedError, socket.gaierror))
