"""An errback of a workflow whose group failed: it has the key when no task of the group runs any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from celery import chain, chord, group

from celery_locks import baton
from tests.unit.relay import KEY, Relay

if TYPE_CHECKING:
    from collections.abc import Callable

Errbacks = list[dict[str, Any]]


def of_body(relay: Relay) -> Errbacks:
    """Written into the canvas, at its end."""
    chords = failed(relay, relay.job("b"), relay.job("c").on_error(relay.job("undo")))
    return chords["kwargs"]["body"]["options"]["link_error"]


def of_all(relay: Relay) -> Errbacks:
    """Given when it is sent."""
    how = {"link_error": [relay.job("undo")]}
    failed(relay, relay.job("b"), relay.job("c"), how)
    return how["link_error"]


def of_member(relay: Relay) -> Errbacks:
    """Of one task of the group, beside which others may run."""
    chords = failed(relay, relay.job("b").on_error(relay.job("undo")), relay.job("c"))
    return tasks_of(chords["kwargs"]["header"])[0]["options"]["link_error"]


def failed(relay: Relay, member: Any, body: Any, how: dict[str, Any] | None = None) -> Any:
    """The chord of a workflow of which all has run but its body: Celery calls its errbacks now."""
    canvas = chain(relay.job("a"), chord(group(member, relay.job("b")), body))
    first, chords = baton(canvas, KEY, travel=100)._marked(how or {}).tasks
    for each in (first, *tasks_of(chords["kwargs"]["header"])):
        relay.app.signature({**each, "options": {"headers": each["options"]["headers"]}}).apply_async()
        relay.run()
    assert relay.is_on_its_way()
    return chords


def tasks_of(header: Any) -> list[Any]:
    return header["kwargs"]["tasks"] if isinstance(header, dict) else header


@pytest.mark.parametrize("errbacks", [of_body, of_all])
def test_it_takes_over_from_the_group(relay: Relay, errbacks: Callable[[Relay], Errbacks]):
    """Under the same lease, and the key is free behind it."""
    [undo] = errbacks(relay)
    relay.app.signature(undo).apply_async()
    relay.run()
    assert relay.names == ["a", "b", "b", "undo"]
    assert len(set(relay.fences)) == 1
    assert relay.holder() is None


@pytest.mark.parametrize("flag", [False, True])
def test_it_takes_nothing_from_tasks_that_may_run(relay: Relay, flag: bool):  # noqa: FBT001 - a parameter
    """One of a task of the group; or any, where Celery calls them for each task that fails: it waits in line."""
    relay.app.conf.task_allow_error_cb_on_chord_header = flag
    [undo] = (of_body if flag else of_member)(relay)
    relay.app.signature(undo).apply_async()
    relay.run()
    assert relay.names == ["a", "b", "b"]
    assert relay.is_on_its_way()
