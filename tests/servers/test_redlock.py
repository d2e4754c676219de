"""Independent Redis servers start, are of themselves, and are whole again after a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.servers.redlock import RedlockNodes


def test_nodes_know_nothing_of_each_other(redlock_nodes: RedlockNodes) -> None:
    """What is written to one is on no other, and each is a master without replicas."""
    redlock_nodes.flush()
    redlock_nodes.nodes[0].ask("SET", "key", "value")
    assert [node.ask("GET", "key") for node in redlock_nodes.nodes] == ["value", None, None, None, None]
    assert [node.ask("ROLE")[0] for node in redlock_nodes.nodes] == ["master"] * 5


def test_nodes_heal(redlock_nodes: RedlockNodes) -> None:
    """One that was killed and one that was frozen answer again."""
    redlock_nodes.nodes[0].kill()
    redlock_nodes.nodes[1].pause()
    assert redlock_nodes.heal()
    assert all(node.ask("PING") for node in redlock_nodes.nodes)
    assert redlock_nodes.url.count(",") == 4
