"""Private Redis servers that work together: a Sentinel group, a Cluster."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import redis

from tests.servers.process import HOST, free_port
from tests.servers.redis import RedisServer
from tests.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence


class _Sentinel(RedisServer):
    """One sentinel; it keeps its state in a file of its own, so it is started from one."""

    def __init__(self, service: str, master: RedisServer, down_after: float) -> None:
        super().__init__()
        self._service = service
        lines = [f"port {self.port}", f"bind {HOST}", f"dir {self.directory}", "protected-mode no"]
        lines += [f"sentinel monitor {service} {HOST} {master.port} 2"]
        lines += [f"sentinel down-after-milliseconds {service} {down_after * 1000:.0f}"]
        lines += [f"sentinel failover-timeout {service} 2000"]
        (self.directory / "sentinel.conf").write_text("\n".join(lines) + "\n")

    def command(self) -> list[str]:
        return [self.program.find() or self.program.name, str(self.directory / "sentinel.conf"), "--sentinel"]

    def answers(self) -> bool:
        with contextlib.suppress(redis.RedisError, OSError), self.client() as client:
            return bool(client.ping())
        return False

    def seen(self) -> dict[str, str]:
        """What it knows of the master."""
        words = self.ask("SENTINEL", "MASTER", self._service)
        pairs = zip(words[::2], words[1::2], strict=True) if isinstance(words, list) else words.items()
        return {name: str(value) for name, value in pairs}


class _Group:
    """Servers that work as one."""

    nodes: Sequence[RedisServer]

    def heal(self) -> bool:
        """Undo what a test did to any of them, and wait until they work as one again."""
        broken = [node for node in self.nodes if node.heal()]
        if broken:
            self.mend(broken)
            self.wait_until_whole()
        return bool(broken)

    def mend(self, broken: Sequence[RedisServer]) -> None:
        """Help the nodes that were started again to find their place."""

    def wait_until_whole(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """End them all."""
        for node in self.nodes:
            node.close()


class SentinelGroup(_Group):
    """One master, one replica, three sentinels; the replica takes over some three seconds after the master died.

    A sentinel that lost a connection takes up to a second to try again. Called down sooner than that, a master just
    promoted would be called down too, and its predecessor promoted back.
    """

    def __init__(self, service: str = "mymaster", down_after: float = 1.5) -> None:
        self.service = service
        first = RedisServer()
        self.data = [first, RedisServer(replica_of=first)]
        self.sentinels = [_Sentinel(service, first, down_after) for _ in range(3)]
        self.nodes = [*self.data, *self.sentinels]

    def start(self) -> None:
        """Start all; the sentinels last, for without a replica in sync they put a failover off for half a minute."""
        for node in self.nodes:
            node.start()
        self.wait_until_whole()

    def mend(self, broken: Sequence[RedisServer]) -> None:
        """Make a former master the replica; the sentinels would let it be a second master for ten seconds."""
        self._wait_for_one_view()
        for former in {*broken} & {*self.data} - {self.master}:
            former.ask("REPLICAOF", HOST, self.master.port)

    def wait_until_whole(self) -> None:
        """Wait until every sentinel knows the others and a replica in sync."""
        wait_until(self._is_whole, "the sentinels to know each other, a master and its replica", timeout=30)

    def _is_whole(self) -> bool:
        roles = self.master.ask("ROLE")[0], self.replica.ask("ROLE")[0]
        return roles == ("master", "slave") and self.replica.answers() and all(map(self._is_content, self.sentinels))

    @staticmethod
    def _is_content(sentinel: _Sentinel) -> bool:
        seen = sentinel.seen()
        return (seen["num-other-sentinels"], seen["num-slaves"], seen["flags"]) == ("2", "1", "master")

    def _wait_for_one_view(self) -> None:
        wait_until(lambda: len(self._masters_seen()) == 1, "the sentinels to agree on a master", timeout=30)

    def _masters_seen(self) -> set[str]:
        return {sentinel.seen()["port"] for sentinel in self.sentinels}

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where the sentinels listen."""
        return [(HOST, sentinel.port) for sentinel in self.sentinels]

    @property
    def master(self) -> RedisServer:
        """The server the sentinels call the master now."""
        port = self.sentinels[0].seen()["port"]
        return next(node for node in self.data if node.port == int(port))

    @property
    def replica(self) -> RedisServer:
        """The other one."""
        return next(node for node in self.data if node is not self.master)

    def fail_over(self) -> None:
        """Kill the master and wait until its replica has taken over and every sentinel says so."""
        old, new = self.master, self.replica
        old.kill()
        wait_until(lambda: self._masters_seen() == {str(new.port)}, f"{new} to become the master", timeout=30)
        wait_until(lambda: new.ask("ROLE")[0] == "master", f"{new} to take writes")

    def flush(self) -> None:
        """Forget every key."""
        self.master.flush()


class RedisCluster(_Group):
    """Masters that share the 16,384 slots. A spare is a replica of one of them, and takes over only when told to."""

    SLOTS = 16_384
    MASTERS = 3

    def __init__(self, spares: int = 0, **config: str) -> None:
        # The bus listens on port + 10,000: this keeps it below the ephemeral range too.
        ports = [free_port(20_000, 22_000, beside=10_000) for _ in range(self.MASTERS + spares)]
        settings: dict[str, Any] = {
            "cluster_enabled": "yes",
            "cluster_node_timeout": "1000",
            "cluster_replica_no_failover": "yes",
            **config,
        }
        self.nodes = [RedisServer(port=port, **settings) for port in ports]

    def start(self) -> None:
        """Start all, share the slots out, introduce them to each other, and give the spares their masters."""
        for node in self.nodes:
            node.start()
        self._share_slots()
        for other in self.nodes[1:]:
            self.nodes[0].ask("CLUSTER", "MEET", HOST, other.port)
        self.wait_until_whole()
        for master, spare in zip(self.nodes, self.nodes[self.MASTERS :], strict=False):
            spare.ask("CLUSTER", "REPLICATE", master.ask("CLUSTER", "MYID"))
        self.wait_until_whole()

    def _share_slots(self) -> None:
        for number, node in enumerate(self.nodes[: self.MASTERS]):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            first, end = (self.SLOTS * edge // self.MASTERS for edge in (number, number + 1))
            node.ask("CLUSTER", "ADDSLOTS", *range(first, end))

    def wait_until_whole(self) -> None:
        """Wait until every node calls the cluster whole, all see the same masters, and each spare is in sync."""
        wait_until(self._is_whole, "the cluster to be whole", timeout=30)

    def _is_whole(self) -> bool:
        return all(node.answers() and self._is_content(node) for node in self.nodes) and self._is_of_one_view(
            self.nodes
        )

    def _is_content(self, node: RedisServer) -> bool:
        answer = node.ask("CLUSTER", "INFO")
        state = answer if isinstance(answer, dict) else dict(line.split(":") for line in answer.split())
        known = (state["cluster_state"], state["cluster_known_nodes"], state["cluster_slots_ok"])
        return known == ("ok", str(len(self.nodes)), str(self.SLOTS))

    def _is_of_one_view(self, nodes: Sequence[RedisServer]) -> bool:
        return len({_masters_seen(node) for node in nodes}) == 1

    @property
    def masters(self) -> list[RedisServer]:
        """Who has slots, as the last node sees it, in the order of the slots."""
        by_port = {node.port: node for node in self.nodes}
        return [by_port[port] for _, port in sorted(_masters_seen(self.nodes[-1]))]

    def spare_of(self, master: RedisServer) -> RedisServer:
        """The replica of a master that runs."""
        port = next(port for _, port, _ in master.ask("ROLE")[2])
        return next(node for node in self.nodes if node.port == int(port))

    def take_over(self, spare: RedisServer) -> None:
        """Make a spare the master whatever became of its own, and wait until those that are left have heard of it."""
        former = spare.ask("ROLE")[2]
        spare.ask("CLUSTER", "FAILOVER", "TAKEOVER")
        others = [node for node in self.nodes if node.port != int(former)]
        wait_until(lambda: all(_has_slots(spare, node) for node in others), f"the others to know {spare}", timeout=30)

    @property
    def url(self) -> str:
        """The first node; a cluster client finds the others."""
        return f"redis://{HOST}:{self.nodes[0].port}/0"

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Where the nodes listen."""
        return [(HOST, node.port) for node in self.nodes]

    def flush(self) -> None:
        """Forget every key."""
        for node in self.masters:
            node.flush()


def _masters_seen(node: RedisServer) -> frozenset[tuple[int, int]]:
    """The first slot of each range, and the port of who has it."""
    return frozenset((first, master[1]) for first, _, master, *_ in node.ask("CLUSTER", "SLOTS"))


def _has_slots(master: RedisServer, seen_by: RedisServer) -> bool:
    return master.port in {port for _, port in _masters_seen(seen_by)}
