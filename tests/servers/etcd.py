"""Private etcd servers: one, or a cluster."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
from typing import TYPE_CHECKING, Any

from tests.servers.process import HOST, PrivateServer, free_port
from tests.servers.programs import ETCD
from tests.servers.redis import self_signed
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.servers.programs import Program

#: Milliseconds. A lease lasts at least one and a half election timeouts: with these, one second.
HEARTBEAT, ELECTION = 30, 300


class Refused(Exception):
    """etcd answered with an error."""


class EtcdServer(PrivateServer):
    """One server, or one member of a cluster. It keeps its data over a restart and over a kill.

    Any flag of etcd may be given: `EtcdServer(quota_backend_bytes="4000000")`.
    """

    program = ETCD

    def __init__(self, program: Program = ETCD, *, tls: bool = False, **flags: str) -> None:
        super().__init__()
        self.program = program  # type: ignore[misc] # one class runs each version there is
        self.tls = tls
        self.name = f"member{self.port}"
        self.peer_url = f"http://{HOST}:{free_port()}"
        self.cluster = {self.name: self.peer_url}
        self.token = ""
        files = dict(zip(("cert-file", "key-file"), self_signed(self.directory), strict=True)) if tls else {}
        self.flags = {name.replace("_", "-"): value for name, value in flags.items()} | files

    @property
    def client_url(self) -> str:
        """Where it speaks HTTP."""
        return f"{'https' if self.tls else 'http'}://{HOST}:{self.port}"

    @property
    def url(self) -> str:
        """Its URL for a store."""
        return (
            f"etcds://{HOST}:{self.port}/?ca_cert={self.flags['cert-file']}"
            if self.tls
            else f"etcd://{HOST}:{self.port}"
        )

    def command(self) -> list[str]:
        flags = {
            "name": self.name,
            "data-dir": self.directory / "data",
            "listen-client-urls": self.client_url,
            "advertise-client-urls": self.client_url,
            "listen-peer-urls": self.peer_url,
            "initial-advertise-peer-urls": self.peer_url,
            "initial-cluster": ",".join(f"{name}={url}" for name, url in self.cluster.items()),
            "heartbeat-interval": HEARTBEAT,
            "election-timeout": ELECTION,
            "logger": "zap",
            **self.flags,
        }
        return [self.program.find() or self.program.name, *(f"--{name}={value}" for name, value in flags.items())]

    def launch(self) -> None:
        """Start it without waiting: a member of a cluster is not ready before others are there."""
        if not self.is_alive():
            self._spawn()

    def is_broken(self) -> bool:
        """Whether a test paused or ended it."""
        return self._paused or not self.is_alive()

    def answers(self) -> bool:
        """It says that it is healthy: it has a leader and writes reach it."""
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError, Refused):
            return bool(self._spoken("GET", "/health", timeout=2).get("health") == "true")
        return False

    def ask(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer of the JSON gateway to one request, as `lease/leases`."""
        return self._spoken("POST", f"/v3/{path}", body or {})

    def kept(self) -> dict[str, str]:
        """All keys and their values."""
        # Both ends are NUL: from the first key to the last.
        answer = self.ask("kv/range", {"key": "AA==", "range_end": "AA=="})
        return {_text(each["key"]): _text(each.get("value", "")) for each in answer.get("kvs", ())}

    def leases(self) -> set[int]:
        """The leases that there are."""
        return {int(each["ID"]) for each in self.ask("lease/leases").get("leases", ())}

    def flush(self) -> None:
        """Forget every key and every lease."""
        self.ask("kv/deleterange", {"key": "AA==", "range_end": "AA=="})
        for lease in self.leases():
            with contextlib.suppress(Refused):
                self.ask("lease/revoke", {"ID": lease})

    def _spoken(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, timeout: float = 30
    ) -> dict[str, Any]:
        with contextlib.closing(self._connection(timeout)) as connection:
            login = {"Authorization": self.token} if self.token else {}
            connection.request(method, path, None if body is None else json.dumps(body), login)
            answer = connection.getresponse()
            said = json.loads(answer.read())
        if answer.status != http.client.OK:
            raise Refused(said.get("error") or said.get("message"))
        return dict(said)

    def _connection(self, timeout: float) -> http.client.HTTPConnection:
        if not self.tls:
            return http.client.HTTPConnection(HOST, self.port, timeout=timeout)
        trust = ssl.create_default_context(cafile=str(self.flags["cert-file"]))
        return http.client.HTTPSConnection(HOST, self.port, timeout=timeout, context=trust)


class EtcdCluster:
    """Three servers that elect a leader; without one of them they still answer."""

    def __init__(self, program: Program = ETCD, size: int = 3) -> None:
        self.nodes = [EtcdServer(program) for _ in range(size)]
        members = {node.name: node.peer_url for node in self.nodes}
        for node in self.nodes:
            node.cluster = members

    def start(self) -> None:
        """Start all: the first is not ready before the second is there."""
        for node in self.nodes:
            node.launch()
        self.wait_until_whole()

    def wait_until_whole(self) -> None:
        """Wait until every member can write."""
        wait_until(lambda: all(node.answers() for node in self.nodes), "the members to be healthy", timeout=30)

    def heal(self) -> bool:
        """Undo what a test did to any member."""
        broken = [node for node in self.nodes if node.is_broken()]
        for node in broken:
            node.resume()
            node.launch()
        if broken:
            self.wait_until_whole()
        return bool(broken)

    def close(self) -> None:
        """End them all."""
        for node in self.nodes:
            node.close()

    @property
    def url(self) -> str:
        """All members, for a store."""
        return f"etcd://{','.join(f'{HOST}:{node.port}' for node in self.nodes)}"

    @property
    def leader(self) -> EtcdServer:
        """The member that leads now."""
        leader = wait_until(self._leader, "a leader", timeout=20)
        assert leader
        return leader

    def _leader(self) -> EtcdServer | None:
        for node in self.nodes:
            with contextlib.suppress(OSError, http.client.HTTPException, Refused):
                status = node.ask("maintenance/status")
                if status.get("leader") == status["header"]["member_id"]:
                    return node
        return None

    def flush(self) -> None:
        """Forget every key and every lease."""
        self.leader.flush()


def _text(coded: str) -> str:
    return base64.b64decode(coded).decode("utf-8", "replace")
