"""`python -m benchmarks.delay MILLISECONDS PORT ...`: a relay in front of each port, that lets all through later.

It prints the ports it listens on, and ends when its standard input does. It is a process of its own, so that it does
not take the interpreter from whoever is measured.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
import sys

HOST = "127.0.0.1"


class _Leg(asyncio.Protocol):
    """One end of a connection: what comes here leaves at the other end, later."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._loop = asyncio.get_running_loop()
        self.early: list[bytes] = []
        self.transport: asyncio.Transport | None = None
        self.other: _Leg | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of TCP it always is
        self.transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for data in self.early:
            transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._loop.call_later(self._delay, self._pass_on, data)

    def connection_lost(self, _: Exception | None) -> None:
        if self.other and self.other.transport:
            self.other.transport.close()

    def _pass_on(self, data: bytes) -> None:
        if self.other and self.other.transport:
            self.other.transport.write(data)
        elif self.other:
            self.other.early.append(data)


async def _relay(port: int, delay: float) -> int:
    loop = asyncio.get_running_loop()
    reaching = set()

    def came() -> _Leg:
        near, far = _Leg(delay), _Leg(delay)
        near.other, far.other = far, near
        reaching.add(loop.create_task(loop.create_connection(lambda: far, HOST, port)))
        return near

    server = await loop.create_server(came, HOST, 0)
    listening: int = server.sockets[0].getsockname()[1]
    return listening


async def _main(delay: float, ports: list[int]) -> None:
    print(*[await _relay(port, delay) for port in ports], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    # select() waits for microseconds, epoll only for whole milliseconds.
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    loop.run_until_complete(_main(float(sys.argv[1]) / 1000, [int(port) for port in sys.argv[2:]]))
