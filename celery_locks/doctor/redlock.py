"""Hazards of Redlock: nodes that are too few, that answer for each other, or that are away."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery_locks.doctor.finding import Finding, Hazard, some

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.doctor.ward import StoreCase

EVEN = Hazard(
    "CL401",
    "warning",
    "An even number bears the loss of no more nodes than the odd number below it, and of two halves that are cut off"
    " from each other neither gives a key.",
    "name {fewer} or {more} nodes",
)
NOT_APART = Hazard(
    "CL402",
    "error",
    "A majority must be of servers that fail and forget apart. A replica takes no lock of its own and shows those of"
    " its master; one server that is named twice votes twice.",
    "name independent masters only",
)
AWAY = Hazard(
    "CL403",
    "warning",
    "Locks work while a majority answers; the more are away, the fewer may still fail.",
    "bring them back; one that lost its memory is to give no key for a while: app.conf.lock_restart_delay = 60",
)


def an_even_number(case: StoreCase) -> Iterator[Finding]:
    """One node more than an odd number is one more that may fail, and bears no failure more."""
    count = len(case.servers)
    if case.is_majority and count % 2 == 0:
        yield EVEN.found(f"{case.name}: {count} nodes, an even number", fewer=count - 1, more=count + 1)


def nodes_that_follow_each_other(case: StoreCase) -> Iterator[Finding]:
    """Two nodes are one server, or one follows another."""
    nodes = [node for node in case.servers if node.info] if case.is_majority else []
    told = [node.info.get("run_id") for node in nodes]
    twins = [node.name for node in nodes if told.count(node.info.get("run_id")) > 1]
    followers = [node.name for node in nodes if node.info.get("role") == "slave"]
    if twins or followers:
        said = [f"{some(twins)} are one server"] if twins else []
        said += [f"{some(followers)} follows another server"] if followers else []
        yield NOT_APART.found(f"{case.name}: {', and '.join(said)}")


def a_node_that_is_away(case: StoreCase) -> Iterator[Finding]:
    """A majority is there, and some are not."""
    if away := [node.trouble for node in case.servers if node.trouble]:
        count = f"{len(away)} of {len(case.servers)} nodes do not answer"
        yield AWAY.found(f"{case.name}: {count}: {'; '.join(away)}")


CHECKS = (an_even_number, nodes_that_follow_each_other, a_node_that_is_away)
