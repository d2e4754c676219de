"""A TCP proxy between a client and its server that does to the traffic what networks do."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections import deque
from typing import TYPE_CHECKING, Literal, TypeVar
from urllib.parse import urlsplit, urlunsplit

from tests.servers.process import HOST, free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

Direction = Literal["requests", "answers"]
BOTH: tuple[Direction, Direction] = ("requests", "answers")
T = TypeVar("T")
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class _Flow:
    """One direction of one connection: bytes in order, each at its own time, and then the end."""

    def __init__(self, proxy: Proxy, direction: Direction) -> None:
        self._proxy = proxy
        self._direction = direction
        self._clock = asyncio.get_running_loop()
        self._waiting: deque[tuple[float, bytes]] = deque()
        self.sink: asyncio.Transport | None = None

    def push(self, data: bytes) -> None:
        """Take bytes on; none means the sender is gone."""
        self._waiting.append((self._clock.time() + self._proxy.delays[self._direction], data))
        self.run()

    def run(self) -> None:
        """Let through what is due."""
        while self._waiting and self.sink and self._direction not in self._proxy.held:
            due, data = self._waiting[0]
            if due > self._clock.time():
                self._clock.call_at(due, self.run)
                return
            self._waiting.popleft()
            self._pass_on(self.sink, data)

    @staticmethod
    def _pass_on(sink: asyncio.Transport, data: bytes) -> None:
        if not data:
            sink.close()
        elif not sink.is_closing():
            sink.write(data)

    def bytes_waiting(self) -> bytes:
        return b"".join(data for _, data in self._waiting)


class _Leg(asyncio.Protocol):
    """One end of a connection through the proxy."""

    def __init__(self, made: Callable[[asyncio.Transport], None], got: Callable[[bytes], None]) -> None:
        self._made = made
        self._got = got

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._made(transport)

    def data_received(self, data: bytes) -> None:
        self._got(data)

    def connection_lost(self, _: Exception | None) -> None:
        self._got(b"")


class _Connection:
    """A client's connection and ours to the server, with the faults that wait for its next answer."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._doom: Literal["lose", "cut"] | None = None
        self.flows: dict[Direction, _Flow] = {direction: _Flow(proxy, direction) for direction in BOTH}
        self.client = _Leg(self._client_came, self._requested)

    def _client_came(self, transport: asyncio.Transport) -> None:
        self.flows["answers"].sink = transport
        self._proxy.connections.append(self)
        self._opening = asyncio.ensure_future(self._reach_server())

    async def _reach_server(self) -> None:
        server = _Leg(self._server_came, self._answered)
        try:
            await asyncio.get_running_loop().create_connection(lambda: server, *self._proxy.target)
        except OSError:
            self.reset()

    def _server_came(self, transport: asyncio.Transport) -> None:
        self.flows["requests"].sink = transport
        self.flows["requests"].run()

    def _requested(self, data: bytes) -> None:
        self._doom = self._doom or self._proxy.doom_of(data)
        self.flows["requests"].push(data)

    def _answered(self, data: bytes) -> None:
        doom, self._doom = self._doom, None
        if doom == "cut":
            self.reset()
        elif doom is None or not data:
            self.flows["answers"].push(data)

    def reset(self) -> None:
        """End both legs with a reset, as a router does that forgot the connection."""
        for flow in self.flows.values():
            if flow.sink and not flow.sink.is_closing():
                flow.sink.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                flow.sink.abort()


class Proxy:
    """A proxy in front of one server. Each fault works from the moment its method returns, on open connections too.

    It lives in a thread of its own; a forked child keeps the connections open that it inherits.
    """

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self.target = (self._url.hostname or HOST, self._url.port or 0)
        self.port = free_port()
        self.delays: dict[Direction, float] = {"requests": 0, "answers": 0}
        self.held: set[Direction] = set()
        self.connections: list[_Connection] = []
        self._dooms: list[tuple[Literal["lose", "cut"], bytes]] = []
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()
        self.accept()

    @property
    def url(self) -> str:
        """The server's URL, through the proxy."""
        login = self._url.netloc.rpartition("@")
        return urlunsplit(self._url._replace(netloc=f"{login[0]}{login[1]}{HOST}:{self.port}"))

    def delay(self, seconds: float, *directions: Direction) -> None:
        """Let everything through that much later."""
        self._do(lambda: self.delays.update(dict.fromkeys(directions or BOTH, seconds)))

    def hold(self, *directions: Direction) -> None:
        """Keep everything, in order, until `let_go`; what a client sent goes on later even if that client gave up."""
        self._do(lambda: self.held.update(directions or BOTH))

    def hang(self) -> None:
        """Take new connections, let nothing through either way."""
        self.hold(*BOTH)

    def let_go(self, *directions: Direction) -> None:
        """Stop holding, and pass on what was kept."""
        self._do(lambda: self.held.difference_update(directions or BOTH))
        self._do(self._run)

    def waiting(self, direction: Direction) -> bytes:
        """What is kept now."""
        return self._do(lambda: b"".join(each.flows[direction].bytes_waiting() for each in self.connections))

    def lose_answer(self, to: bytes = b"") -> None:
        """The next request that contains `to` reaches the server; its answer is lost, the connection stays open."""
        self._do(lambda: self._dooms.append(("lose", to)))

    def cut_answer(self, to: bytes = b"") -> None:
        """The next request that contains `to` reaches the server; instead of its answer comes a reset."""
        self._do(lambda: self._dooms.append(("cut", to)))

    def doom_of(self, request: bytes) -> Literal["lose", "cut"] | None:
        """What is to happen to this request's answer."""
        for position, (doom, to) in enumerate(self._dooms):
            if request and to in request:
                del self._dooms[position]
                return doom
        return None

    def cut(self) -> None:
        """Reset every open connection."""
        self._do(self._reset)

    def refuse(self) -> None:
        """Reset every open connection and refuse new ones."""
        self._do(self._deafen)

    def accept(self) -> None:
        """Take connections again, on the same port."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(5)

    def heal(self) -> None:
        """End every fault."""
        self._do(self._dooms.clear)
        self.delay(0)
        self.let_go()
        self.accept()

    def close(self) -> None:
        """Refuse, and end the thread."""
        self.refuse()
        asyncio.run_coroutine_threadsafe(self._settle(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, action: Callable[[], T]) -> T:
        async def act() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(5)

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await self._loop.create_server(lambda: _Connection(self).client, HOST, self.port)

    def _deafen(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        self._reset()

    def _reset(self) -> None:
        while self.connections:
            self.connections.pop().reset()

    def _run(self) -> None:
        for flow in (flow for connection in self.connections for flow in connection.flows.values()):
            flow.run()

    @staticmethod
    async def _settle() -> None:
        """Let the loop close its sockets and end what it still had to do."""
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)
