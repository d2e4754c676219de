"""What is asked of ZooKeeper to be done at once or not at all, and without an error when it cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from celery_locks.stores.zookeeper.answer import Answer
    from celery_locks.stores.zookeeper.client import Client


def sweep(client: Client, lock: str) -> Answer:
    """Remove the node of a key that several held, if nobody is left there."""
    # One who has the key alone has a node by that name, too. It may have none below it, and so is never removed here.
    proof, steps = f"{lock}/-", client.transaction()
    steps.create(proof)
    steps.delete(proof)
    steps.delete(lock)
    answer: Answer = steps.commit_async()
    return answer


def written(client: Client, node: str, data: bytes) -> Answer:
    """Write what is there."""
    steps = client.transaction()
    steps.set_data(node, data)
    answer: Answer = steps.commit_async()
    return answer


def made(client: Client, node: str, data: bytes) -> Answer:
    """Make a node that ends with the session."""
    steps = client.transaction()
    steps.create(node, data, ephemeral=True)
    answer: Answer = steps.commit_async()
    return answer


def removal(client: Client, node: str, version: int) -> Answer:
    """Remove a node, at this version of it; at any, if that is -1."""
    steps = client.transaction()
    steps.delete(node, version)
    answer: Answer = steps.commit_async()
    return answer
