"""The picture of the live view, in the terminal and in the docs."""

from __future__ import annotations

import html
import io
import os
import re
import sys

import pytest
from rich.console import Console

from celery_locks.cli.top.drawing import Picture
from celery_locks.cli.top.reading import Said, Subject, Trouble, read
from celery_locks.cli.top.state import Top
from celery_locks.cli.top.table import HEADINGS
from celery_locks.cli.verbs import top as verb
from tests.commands import ROOT, celery_locks
from tests.unit.kiosk import NOW, Kiosk

PAGE = ROOT / "docs" / "top.svg"


@pytest.fixture
def kiosk():
    return Kiosk()


@pytest.fixture
def top(kiosk):
    found = Top(Subject("*"))
    found.hear(read(kiosk, found.subject, clock=lambda: NOW))
    return found


def console(width=110, height=14):
    return Console(
        file=io.StringIO(), width=width, height=height, record=True, force_terminal=True, color_system="truecolor"
    )


def drawn(top, now=NOW, **size):
    there = console(**size)
    there.print(Picture(top, "redis://redis1:6379/0", now))
    return there.export_text().splitlines()


def test_the_picture_fills_the_terminal_and_no_more(top):
    """At any size: the head above, the keys below, and in between what there is room for."""
    for width, height in ((110, 14), (80, 24), (60, 10), (200, 9)):
        lines = drawn(top, width=width, height=height)
        assert len(lines) == height, (width, height)
        assert max(map(len, lines)) <= width
        assert lines[0].startswith("celery_locks top  redis://redis1:6379/0")
        assert "quit" in lines[-1]
    assert "5 keys held, 16 waiting" in drawn(top)[0]


def test_the_chosen_one_is_in_the_picture(top, kiosk):
    """Of more than there is room for."""
    kiosk.locks.update({f"wallet:{number:04}": kiosk.locks["wallet:7"] for number in range(500)})
    top.hear(read(kiosk, top.subject, clock=lambda: NOW))
    for key in ("end", "up", "up", "home", *["page down"] * 3):
        top.press(key)
        lines = drawn(top)
        assert len(lines) == 14
        assert sum(f"{top.chosen.key} " in line for line in lines) == 1


def test_a_line_tells_what_the_store_knows(top):
    """Under its heading."""
    titles, *rows = drawn(top)[2:8]
    assert tuple(titles.split()) == HEADINGS
    [row] = [row.split() for row in rows if row.startswith("wallet:42")]
    assert row == ["wallet:42", "1m", "12s", "28.3s", "3", "41", "bank.withdraw[6b1cf0c2…]@web1:4711"]


def test_before_a_lock_is_broken_its_holder_is_named_in_full(top):
    """However narrow the terminal is; and what came of it is said until the next key."""
    top.press("b")
    shown = "".join("".join(drawn(top, width=50, height=20)).split())
    assert f"Releasetenant:acme,heldby{top.target.seen.owner.brief}since" in shown
    assert f"(fence{top.target.seen.holding.fence})?" in shown
    assert "yreleaseit" in shown
    top.press("y")
    top.hear(Said("Released it. Its job was not stopped"))
    assert "Its job was not stopped" in " ".join(drawn(top))


def test_a_store_that_does_not_answer_is_seen_at_once(top):
    """Since when, above what was seen last."""
    top.hear(Trouble("Redis at redis1:6379 does not answer", NOW))
    lines = drawn(top, now=NOW + 12.5)
    assert lines[1].startswith("No answer for 12.5s, it is asked again: Redis at redis1:6379 does not answer")
    assert any(line.startswith("wallet:42") for line in lines)
    assert len(lines) == 14


def test_one_key_is_shown_with_its_line(top, kiosk):
    """Who has it, who waits, and by whom it was found taken."""
    top.press("n")
    top.press("end")
    top.press("up")
    asked = top.press("enter")
    assert "asking ..." in " ".join(drawn(top))
    top.hear(read(kiosk, asked, clock=lambda: NOW))
    text = "\n".join(drawn(top, height=30))
    assert "wallet:42 is held" in text
    assert re.search(r"waiting +3\n +1 +queue +10.0s ago +66148c16fd45c260", text)
    assert "4.0s ago, bank.sync" in text
    kiosk.force_release("wallet:42")
    top.hear(read(kiosk, asked, clock=lambda: NOW))
    assert "wallet:42 is free" in "\n".join(drawn(top))


def test_a_key_cannot_play_with_the_picture(top, kiosk):
    """What a terminal obeys is shown as what it is, and rich's own marks are letters."""
    kiosk.locks = {"a\nb\x1b[31m[red]": kiosk.locks["wallet:7"]}
    top.hear(read(kiosk, top.subject, clock=lambda: NOW))
    top.press("b")
    text = "\n".join(drawn(top))
    assert text.count("a\\nb\\x1b[31m[red]") == 2


def test_a_filter_is_seen_as_it_is_typed(top):
    """And names what is shown, once it was asked for."""
    for key in ("/", "w", "a", "l"):
        top.press(key)
    assert "Keys that match: wal_" in "\n".join(drawn(top))


def test_the_picture_in_the_docs_is_what_is_drawn_now(top):
    """Made by `make pictures`, for which this test runs with PICTURES=1; elsewhere nothing is written."""
    there = console(width=106, height=11)
    there.print(Picture(top, "redis://redis1:6379/0", NOW))
    picture = there.export_svg(title="celery -A bank locks top", unique_id="top")
    if os.environ.get("PICTURES"):
        PAGE.write_text(picture, encoding="utf-8")
    assert _texts(PAGE.read_text(encoding="utf-8")) == _texts(picture)
    assert all(heading in _texts(picture) for heading in HEADINGS)


def test_a_missing_library_is_named_with_its_extra(monkeypatch, tmp_path):
    """Only for the live view: what scripts read needs no rich."""
    monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.delitem(sys.modules, "celery_locks.cli.top.screen", raising=False)
    monkeypatch.setattr(verb, "_is_terminal", lambda: True)
    ended = celery_locks(f"file://{tmp_path}/locks", "top")
    assert (ended.code, ended.out) == (2, "")
    assert "pip install 'celery-locks[top]'" in ended.err
    assert celery_locks(f"file://{tmp_path}/locks", "top", "--once").code == 0


def _texts(svg: str) -> list[str]:
    """What is written in a picture, word by word."""
    return " ".join(html.unescape(each) for each in re.findall(r"<text[^>]*>([^<]*)</text>", svg)).split()
