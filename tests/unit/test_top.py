"""What the live view knows, and what a pressed key does."""

from __future__ import annotations

import pytest

from celery_locks.cli.top.order import Order
from celery_locks.cli.top.reading import Breach, Said, Subject, Trouble, answer, breach, read
from celery_locks.cli.top.state import Mode, Top
from celery_locks.stores.memory import MemoryStore
from tests.unit.kiosk import NOW, Kiosk

ALL = Subject("*")


@pytest.fixture
def kiosk():
    return Kiosk()


@pytest.fixture
def top(kiosk):
    found = Top(ALL)
    found.hear(look(kiosk))
    return found


def look(kiosk, subject=ALL):
    return read(kiosk, subject, clock=lambda: NOW)


def press(top, *keys):
    return [wish for key in keys if (wish := top.press(key))]


def keys_of(top):
    return [line.key for line in top.lines]


@pytest.mark.parametrize(
    ("key", "first", "last"),
    [
        ("n", "import:daily", "wallet:7"),
        ("a", "report:2026-11", "wallet:7"),
        ("t", "import:daily", "report:2026-11"),
        ("w", "import:daily", "tenant:acme"),
        ("c", "tenant:acme", "import:daily"),
    ],
)
def test_a_key_sorts_by_a_column_and_once_more_the_other_way_round(top, key, first, last):
    """The oldest, the soonest to end, the most waited for, the most contended come first; the line is the default."""
    assert keys_of(top)[0] == "tenant:acme"
    press(top, key)
    ordered = keys_of(top)
    assert (ordered[0], ordered[-1]) == (first, last)
    press(top, key)
    assert (keys_of(top)[0], keys_of(top)[-1]) == (last, first) if key != "w" else ("tenant:acme", "import:daily")


def test_what_is_not_known_comes_last_either_way(top, kiosk):
    """As where a store keeps no lines for some keys, or a lock has no ttl."""
    unknown = top.lines[0]._replace(waiting=None)
    top.hear(look(kiosk)._replace(lines=(unknown, *top.lines[1:])))
    assert keys_of(top)[-1] == unknown.key
    press(top, "w")
    assert keys_of(top)[-1] == unknown.key


def test_who_is_chosen_stays_so_when_the_lines_move(top, kiosk):
    """Also in another order, and after a look in which others are gone; when it is gone itself, its neighbour is."""
    press(top, "down", "down")
    assert top.chosen.key == "wallet:7"
    press(top, "n")
    assert (top.chosen.key, top.place) == ("wallet:7", 4)
    kiosk.force_release("import:daily")
    top.hear(look(kiosk))
    assert (top.chosen.key, top.place) == ("wallet:7", 3)
    kiosk.force_release("wallet:7")
    top.hear(look(kiosk))
    assert (top.chosen.key, top.place) == ("wallet:42", 2)


def test_the_choice_stays_within_the_lines(top, kiosk):
    """At the ends it stands still, and of no lines none is chosen."""
    press(top, "up")
    assert top.place == 0
    press(top, "page down", "j")
    assert top.place == 4
    press(top, "home")
    assert top.place == 0
    for key in keys_of(top):
        kiosk.force_release(key)
    top.hear(look(kiosk))
    assert (top.lines, top.chosen, press(top, "down", "enter", "b")) == ([], None, [])
    assert top.mode is Mode.LIST


def test_a_lock_is_broken_only_after_a_plain_yes(top, kiosk):
    """Whatever else is pressed changes nothing; and what is freed has the fence that was shown."""
    shown = top.chosen
    assert press(top, "b") == []
    assert (top.mode, top.target) == (Mode.ASKS, Breach(shown.key, shown.seen))
    for key in ("n", "enter", "escape", "b", "q", " "):
        assert press(top, key) == []
        assert (top.mode, top.said, top.is_over) == (Mode.LIST, "Nothing was changed", False)
        press(top, "b")
    assert press(top, "y") == [Breach(shown.key, shown.seen)]
    assert answer(kiosk, Breach(shown.key, shown.seen)).text.startswith("Released tenant:acme, held by bank.sync[")
    assert kiosk.inspect("tenant:acme") is None


def test_what_is_asked_about_is_what_was_shown_however_the_list_changes(top, kiosk):
    """A new holder of the key, seen while the operator thinks, is not the one that he says yes to."""
    shown = top.chosen.seen
    press(top, "b")
    kiosk.locks["tenant:acme"][:3] = [0.1, 30.0, "bank.sync[next]@web9:1#ff"]
    top.hear(look(kiosk))
    [wish] = press(top, "y")
    assert wish.seen == shown
    said = breach(kiosk, wish)
    assert said.text.endswith("any more: nothing was changed")
    assert kiosk.inspect("tenant:acme").owner == "bank.sync[next]@web9:1#ff"


def test_a_filter_is_typed_and_then_asked_for(top, kiosk):
    """A word is looked for anywhere in a key, a glob as it is; what was asked for before is not shown any more."""
    late = look(kiosk)
    assert press(top, "/", *"walx", "backspace", *"let") == []
    assert top.typed == "wallet"
    assert press(top, "enter") == [Subject("*wallet*")]
    top.hear(late)
    assert top.frame is None
    top.hear(look(kiosk, top.subject))
    assert keys_of(top) == ["wallet:42", "wallet:7"]
    assert press(top, "/", *"t*", "enter") == [Subject("t*")]
    assert press(top, "/", "x", "escape") == []
    assert top.subject == Subject("t*")
    assert press(top, "/", "enter") == [ALL]
    assert not top.is_over


def test_one_key_is_looked_at_alone_and_left_again(top, kiosk):
    """Its line is asked for; back in the list the same one is chosen."""
    press(top, "down")
    assert press(top, "enter") == [Subject("*", "wallet:42")]
    top.hear(look(kiosk, top.subject))
    assert len(top.frame.view.line) == 3
    press(top, "b")
    assert top.target.seen == top.frame.view.holders[0]
    press(top, "n")
    assert top.mode is Mode.ONE_KEY
    assert press(top, "escape") == [ALL]
    top.hear(look(kiosk))
    assert (top.mode, top.chosen.key) == (Mode.LIST, "wallet:42")


def test_of_several_holders_one_must_be_chosen(top, kiosk):
    """The page of a key does not guess which."""
    press(top, "enter")
    frame = look(kiosk, top.subject)
    top.hear(frame._replace(view=frame.view._replace(holders=frame.view.holders * 2)))
    press(top, "b")
    assert top.mode is Mode.ONE_KEY
    assert "several holders" in top.said


def test_a_store_that_does_not_answer_is_shown_and_asked_again(top, kiosk):
    """Since when, and why not now; what was seen stays, until there is an answer."""
    kiosk.is_down = True
    top.hear(answer(kiosk, ALL)._replace(at=NOW))
    top.hear(answer(kiosk, ALL))
    assert top.trouble == Trouble("the kiosk is shut: open it", NOW)
    assert len(top.lines) == 5
    kiosk.is_down = False
    top.hear(look(kiosk))
    assert top.trouble is None


def test_a_lock_that_may_have_been_broken_is_said_to_be_in_doubt(top, kiosk):
    """When the answer was lost."""
    kiosk.is_down = True
    line = top.chosen
    top.hear(answer(kiosk, Breach(line.key, line.seen)))
    assert "is not known: the kiosk is shut" in top.said


def test_a_client_that_fails_in_another_way_harms_nothing(kiosk, monkeypatch):
    """What it raises may name a password, so only its kind is shown."""
    monkeypatch.setattr(kiosk, "list", lambda _: 1 / 0)
    assert answer(kiosk, ALL).text == "the store could not be asked (ZeroDivisionError)"


def test_a_store_that_looks_first_says_so_and_leaves_several_alone(room):
    """Where fence and key are not compared in one step."""
    store = MemoryStore()
    store.acquire(room.claim("wallet:42"))
    [line] = read(store, ALL).lines
    assert (line.waiting, line.conflicts) == (None, None)
    assert "cannot compare the fence" in breach(store, Breach(line.key, line.seen)).text
    assert not list(store.list())
    for _ in range(2):
        store.acquire(room.claim("api")._replace(slots=2))
    line, _ = read(store, ALL).lines
    assert "several holders" in breach(store, Breach(line.key, line.seen)).text
    assert len(list(store.list())) == 2


def test_of_very_many_the_first_are_shown(kiosk):
    """And it is said that there are more."""
    frame = read(kiosk, ALL, most=2)
    assert ([line.key for line in frame.lines], frame.is_cut) == (["wallet:42", "wallet:7"], True)
    assert not read(kiosk, ALL, most=5).is_cut


def test_only_q_ends_it(top):
    """In the list and at one key; in a filter it is a letter."""
    press(top, "/", "q")
    assert (top.typed, top.is_over) == ("q", False)
    press(top, "escape", "x", "é")
    assert not top.is_over
    press(top, "q")
    assert top.is_over


def test_an_order_begins_anew_with_another_column():
    """Only the same one again is turned."""
    assert Order("age").chosen("age") == Order("age", is_turned=True)
    assert Order("age", is_turned=True).chosen("age") == Order("age")
    assert Order("age", is_turned=True).chosen("key") == Order("key")


def test_what_was_said_goes_with_the_next_key(top):
    """It would be taken for new."""
    top.hear(Said("Released"))
    assert top.said == "Released"
    press(top, "n")
    assert top.said == ""


def test_an_empty_view_has_nothing_to_choose():
    """Before the first answer."""
    top = Top(ALL)
    assert (top.lines, top.place, top.chosen) == ([], 0, None)
