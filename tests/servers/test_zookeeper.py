"""The private ZooKeeper answers, keeps its data over a kill, and has one leader of three."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from kazoo.client import KazooClient

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.zookeeper import ZooKeeperEnsemble, ZooKeeperServer


@contextlib.contextmanager
def client(url: str) -> Iterator[KazooClient]:
    opened = KazooClient(url.removeprefix("zookeeper://"))
    opened.start(30)
    try:
        yield opened
    finally:
        opened.stop()
        opened.close()


def test_zookeeper_keeps_a_node_over_a_kill(zookeeper_server: ZooKeeperServer) -> None:
    """What was written is there after a kill, which heal mends on the same port."""
    with client(zookeeper_server.url) as before:
        before.create("/kept", b"word")
    zookeeper_server.kill()
    assert zookeeper_server.heal()
    with client(zookeeper_server.url) as after:
        assert after.get("/kept")[0] == b"word"
        after.delete("/kept")


def test_an_ensemble_finds_another_leader(zookeeper_ensemble: ZooKeeperEnsemble) -> None:
    """When the leader is killed another takes over and knows what was written; healed, all three work together."""
    first = zookeeper_ensemble.leader
    with client(zookeeper_ensemble.url) as before:
        before.create("/led", b"word")
    zookeeper_ensemble.fail_over()
    assert zookeeper_ensemble.leader is not first
    with client(zookeeper_ensemble.url) as after:
        assert after.get("/led")[0] == b"word"
        after.delete("/led")
    assert zookeeper_ensemble.heal()
    assert sorted(node.mode() for node in zookeeper_ensemble.nodes) == ["follower", "follower", "leader"]
