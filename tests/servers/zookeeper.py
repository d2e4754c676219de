"""A private ZooKeeper: one server, or an ensemble of three."""

from __future__ import annotations

import contextlib
import socket

from tests.servers.process import HOST, PrivateServer, free_port
from tests.servers.programs import JAVA, ZOOKEEPER
from tests.servers.proxy import Proxy
from tests.servers.redis import self_signed
from tests.waiting import wait_until

#: Short ticks, so that sessions may be short and a new leader is found soon. No bound on the processes of one machine.
_SETTINGS = {
    "tickTime": "200",
    "initLimit": "50",
    "syncLimit": "10",
    "minSessionTimeout": "400",
    "maxSessionTimeout": "60000",
    "maxClientCnxns": "0",
    "admin.enableServer": "false",
    "4lw.commands.whitelist": "*",
}


class ZooKeeperServer(PrivateServer):
    """One server. What it answered outlives its kill, but not a power cut: it does not wait for its disk."""

    program = ZOOKEEPER
    patience = 60

    def __init__(self, **settings: str) -> None:
        super().__init__()
        (self.directory / "data").mkdir()
        self._settings = {**_SETTINGS, **settings}
        self._settings |= {"dataDir": str(self.directory / "data"), "clientPort": str(self.port)}
        self._settings |= {"clientPortAddress": HOST}

    def command(self) -> list[str]:
        """The server alone, without the system's scripts and files."""
        lines = [f"{name}={value}" for name, value in self._settings.items()]
        (self.directory / "zoo.cfg").write_text("\n".join(lines) + "\n")
        java = [JAVA.find() or JAVA.name, "-Xmx96m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        # Debian's ZooKeeper does not say that its TLS needs this one.
        jars = f"{self.program.find() or self.program.name}:/usr/share/java/netty-codec.jar"
        java += ["-Dzookeeper.forceSync=no", "-cp", jars]
        return [*java, "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(self.directory / "zoo.cfg")]

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        """The whole of it."""
        return f"zookeeper://{self.address}"

    def ask(self, word: str) -> str:
        """The answer to one of its four-letter words."""
        with socket.create_connection((HOST, self.port), timeout=2) as connection:
            connection.sendall(word.encode())
            return b"".join(iter(lambda: connection.recv(8192), b"")).decode()

    def mode(self) -> str:
        """What it says it is: standalone, leader or follower; nothing while it serves nobody."""
        with contextlib.suppress(OSError):
            for line in self.ask("srvr").splitlines():
                if line.startswith("Mode: "):
                    return line.removeprefix("Mode: ")
        return ""

    def answers(self) -> bool:
        """It serves."""
        return bool(self.mode())


class SecureZooKeeperServer(ZooKeeperServer):
    """One that also listens for TLS, with a certificate of its own."""

    def __init__(self) -> None:
        self.secure_port = free_port()
        super().__init__(
            secureClientPort=str(self.secure_port),
            secureClientPortAddress=HOST,
            serverCnxnFactory="org.apache.zookeeper.server.NettyServerCnxnFactory",
        )
        self.certificate, key = self_signed(self.directory)
        both = self.directory / "both.pem"
        both.write_text(key.read_text() + self.certificate.read_text())
        self._settings |= {"ssl.keyStore.location": str(both), "ssl.trustStore.location": str(self.certificate)}
        self._settings |= {"ssl.clientAuth": "none"}

    @property
    def secure_address(self) -> str:
        """Where it listens for TLS."""
        return f"{HOST}:{self.secure_port}"


class _Member(ZooKeeperServer):
    """One of an ensemble. Alone it runs, and serves nobody."""

    def __init__(self, number: int, peers: dict[int, str], settings: dict[str, str]) -> None:
        servers = {f"server.{each}": peer for each, peer in peers.items()}
        super().__init__(standaloneEnabled="false", **servers, **settings)
        (self.directory / "data" / "myid").write_text(f"{number}\n")

    def answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.ask("ruok") == "imok"
        return False


class ZooKeeperEnsemble:
    """Three servers, of which two are enough."""

    def __init__(self, *, cuttable: bool = False, **settings: str) -> None:
        ports = {number: (free_port(), free_port()) for number in (1, 2, 3)}
        self.between: dict[tuple[int, int], Proxy] = {}
        if cuttable:
            # Only then: through a proxy they take longer to find each other.
            ways = ((number, other) for number in ports for other in ports if number != other)
            self.between = {way: Proxy(f"zookeeper://{HOST}:{ports[way[1]][0]}") for way in ways}
        self.nodes = [_Member(number, self._peers(number, ports), settings) for number in ports]

    def _peers(self, number: int, ports: dict[int, tuple[int, int]]) -> dict[int, str]:
        """Where each is for one of them: the others' port for followers lies behind a proxy if it is to be cut."""
        ways = {other: self.between.get((number, other)) for other in ports}
        return {
            other: f"{HOST}:{way.port if way else ports[other][0]}:{ports[other][1]}" for other, way in ways.items()
        }

    def start(self) -> None:
        """Start all, and wait until one leads and the others follow."""
        for node in self.nodes:
            node.start()
        self.wait_until_whole()

    def heal(self) -> bool:
        """Undo what a test did to any of them or between them, and wait until they work as one again."""
        cut = [way for way in self.between.values() if way.held]
        for way in cut:
            way.heal()
        broken = [node for node in self.nodes if node.heal()]
        if cut or broken:
            self.wait_until_whole()
        return bool(cut or broken)

    def close(self) -> None:
        """End them all."""
        for node in self.nodes:
            node.close()
        for way in self.between.values():
            way.close()

    def wait_until_whole(self) -> None:
        """Wait until one leads and two follow."""
        whole = ["follower", "follower", "leader"]
        wait_until(lambda: sorted(node.mode() for node in self.nodes) == whole, "the ensemble to be whole", timeout=60)

    @property
    def leader(self) -> ZooKeeperServer:
        """The one that leads now."""
        return next(node for node in self.nodes if node.mode() == "leader")

    def cut_off(self, follower: ZooKeeperServer) -> None:
        """Let nothing through between a follower and the leader. Neither knows before its patience ends."""
        ends = self.nodes.index(follower) + 1, self.nodes.index(self.leader) + 1  # type: ignore[arg-type]
        self.between[ends].hang()

    def fail_over(self) -> None:
        """Kill the leader and wait until another leads."""
        old = self.leader
        old.kill()
        rest = [node for node in self.nodes if node is not old]
        wait_until(lambda: "leader" in {node.mode() for node in rest}, "another leader", timeout=60)

    @property
    def url(self) -> str:
        """All of them."""
        return f"zookeeper://{','.join(node.address for node in self.nodes)}"
