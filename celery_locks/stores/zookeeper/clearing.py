"""The node of a key that several held goes when the last of them has left."""

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
