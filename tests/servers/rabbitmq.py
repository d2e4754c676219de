"""A private RabbitMQ, with its own port mapper and a virtual host for each test."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import urllib.request
import uuid
from typing import TYPE_CHECKING

from tests.servers.process import HOST, PrivateServer, free_port
from tests.servers.programs import EPMD, RABBITMQ

if TYPE_CHECKING:
    from collections.abc import Iterator

_GREETING = b"AMQP\x00\x00\x09\x01"


class _PortMapper(PrivateServer):
    """Erlang's epmd: without one of its own, a broker would start one for the whole machine and leave it behind."""

    program = EPMD

    def command(self) -> list[str]:
        return [self.program.find() or self.program.name, "-port", str(self.port), "-address", HOST]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "ERL_EPMD_RELAXED_COMMAND_CHECK": "1"}

    def answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
            return True
        return False


class RabbitServer(PrivateServer):
    """One broker; what is durable survives its restart."""

    program = RABBITMQ
    patience = 60

    def __init__(self, port: int | None = None) -> None:
        super().__init__(port)
        self.api_port = free_port()
        self._distribution_port = free_port()
        self._mapper = _PortMapper()
        (self.directory / "enabled_plugins").write_text("[rabbitmq_management].\n")
        (self.directory / "rabbitmq.conf").write_text(self._settings())

    def _settings(self) -> str:
        lines = [f"listeners.tcp.1 = {HOST}:{self.port}"]
        lines += [f"management.tcp.ip = {HOST}", f"management.tcp.port = {self.api_port}"]
        # A private broker on a full disk or a small machine must still take messages.
        lines += ["disk_free_limit.absolute = 1MB", "vm_memory_high_watermark.relative = 0.8", "log.console = true"]
        return "\n".join(lines) + "\n"

    def command(self) -> list[str]:
        """The server itself, in the foreground."""
        return [self.program.find() or self.program.name]

    def environment(self) -> dict[str, str]:
        """Every file in our directory, every port our own."""
        here = self.directory
        ours = {
            "HOME": here,
            "RABBITMQ_NODENAME": f"rabbit-{self.port}@localhost",
            "RABBITMQ_NODE_PORT": self.port,
            "RABBITMQ_NODE_IP_ADDRESS": HOST,
            "RABBITMQ_DIST_PORT": self._distribution_port,
            "RABBITMQ_MNESIA_BASE": here / "mnesia",
            "RABBITMQ_LOG_BASE": here / "log",
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": here / "rabbit.pid",
            "RABBITMQ_CONFIG_FILE": here / "rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_ADVANCED_CONFIG_FILE": here / "advanced.config",
            "RABBITMQ_ENABLED_PLUGINS_FILE": here / "enabled_plugins",
            "ERL_EPMD_PORT": self._mapper.port,
            "ERL_EPMD_ADDRESS": HOST,
            "ERL_CRASH_DUMP": os.devnull,
            # Without it the Erlang machine is a child of the script, and outlives a kill of it.
            "RUNNING_UNDER_SYSTEMD": "1",
        }
        return {**os.environ, **{name: str(value) for name, value in ours.items()}}

    def start(self) -> None:
        """Start the port mapper, then the broker."""
        self._mapper.start()
        super().start()

    def close(self) -> None:
        """End both."""
        super().close()
        self._mapper.close()

    def answers(self) -> bool:
        """AMQP greets back, and the management API knows its own virtual host."""
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1) as connection:
            connection.sendall(_GREETING)
            return bool(connection.recv(1)) and self._api("GET", "vhosts/%2F") == 200
        return False

    def _api(self, method: str, path: str) -> int:
        login = base64.b64encode(b"guest:guest").decode()
        headers = {"Authorization": f"Basic {login}", "Content-Type": "application/json"}
        body = json.dumps({}).encode() if method == "PUT" else None
        address = f"http://{HOST}:{self.api_port}/api/{path}"
        request = urllib.request.Request(address, body, headers, method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - the scheme is written above
            return int(answer.status)

    def url(self, vhost: str = "%2F") -> str:
        """The AMQP address of a virtual host."""
        return f"amqp://guest:guest@{HOST}:{self.port}/{vhost}"

    @contextlib.contextmanager
    def vhost(self) -> Iterator[str]:
        """The AMQP address of a new virtual host, which is removed at the end, queues and all."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self._api("PUT", f"vhosts/{name}")
        try:
            yield self.url(name)
        finally:
            self.heal()
            self._api("DELETE", f"vhosts/{name}")
