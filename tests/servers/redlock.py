"""Redis servers that know nothing of each other, as Redlock wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.servers.process import HOST
from tests.servers.redis import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterable


class RedlockNodes:
    """Independent servers, of which none keeps anything over a kill."""

    def __init__(self, count: int = 5, *, tls: bool = False) -> None:
        self.nodes = [RedisServer(tls=tls) for _ in range(count)]

    def start(self) -> None:
        """Start all."""
        for node in self.nodes:
            node.start()

    def heal(self) -> bool:
        """Undo what a test did to any of them. True when there was something to undo."""
        healed = [node.heal() for node in self.nodes]
        return any(healed)

    def close(self) -> None:
        """End them all."""
        for node in self.nodes:
            node.close()

    def flush(self) -> None:
        """Forget every key, on all."""
        for node in self.nodes:
            node.flush()

    @property
    def url(self) -> str:
        """All of them."""
        return redlock_url(node.port for node in self.nodes)

    def age(self) -> int:
        """For how many seconds the youngest has been up."""
        return min(int(node.ask("INFO", "server")["uptime_in_seconds"]) for node in self.nodes)


def redlock_url(ports: Iterable[int]) -> str:
    """The URL of nodes, or of proxies in front of them."""
    return f"redlock://{','.join(f'{HOST}:{port}' for port in ports)}"
