"""The page as people read it in a browser: lines, charts, lists, at night, on a telephone, by ear."""

from __future__ import annotations

import contextlib
import re

from celery import Celery

from celery_locks.cli.web import window
from celery_locks.lease import Claim, new_owner
from celery_locks.stores import open_store
from celery_locks.ticket import Stance, Ticket, ticket_of
from tests.web.visitor import served, take


def test_whoever_is_at_a_row_stays_there_when_others_come(store, opened):
    """The list is sorted anew, and the focus goes with its row."""
    take(store, "wallet:5")
    opened.look()
    opened.reads("#rows", "wallet:5")
    opened.value("document.querySelector('#rows .link').focus()")
    take(store, "wallet:1")
    opened.look()
    opened.reads("#rows", "wallet:1")
    assert opened.value("document.activeElement.innerText") == "wallet:5"
    assert opened.value("document.querySelector('#rows .link').innerText") == "wallet:1"


def test_it_can_be_used_at_night_on_a_telephone_and_by_ear(store, tab, site):
    """Dark when that is preferred, at 360 pixels without scrolling sideways, and all that can be used has a name."""
    take(store, "wallet:" + "x" * 300, f"bank.{'long' * 20}[6b1c]")
    tab.resize(360, 740)
    tab.prefer("dark")
    tab.open(site.url)
    tab.reads("#rows", "wallet:")
    tab.click("#rows .link")
    tab.reads("#one-body", "fence")
    assert tab.value("document.documentElement.scrollWidth") == 360
    # Each row is a card there: the columns of a table would be a few letters wide.
    assert tab.value("document.querySelector('#rows .link').getBoundingClientRect().width") > 150
    color = tab.value("getComputedStyle(document.body).backgroundColor")
    assert max(map(int, re.findall(r"\d+", color))) < 64
    used = {
        role for role, name in tab.nodes() if not name and role in {"button", "textbox", "searchbox", "link", "img"}
    }
    assert used == set()
    assert tab.value("document.documentElement.lang") == "en"


def test_a_list_is_sorted_by_whatever_is_asked(store, opened):
    """By its titles, up and down, and a screen reader is told."""
    for name in ("b", "a", "c"):
        take(store, name, f"task{name}[1]")
    opened.look()
    opened.reads("#rows", "taskc")
    keys = "[...document.querySelectorAll('#rows .link')].map((each) => each.innerText).join('')"
    opened.click("#titles th:first-child button")
    assert opened.wait(f"{keys} === 'abc' && document.querySelector('[aria-sort]').ariaSort", "abc") == "ascending"
    opened.click("#titles th:first-child button")
    assert opened.wait(f"{keys} === 'cba' && document.querySelector('[aria-sort]').ariaSort", "cba") == "descending"


def test_a_long_list_is_narrowed_by_a_glob(store, opened):
    """The first of many, and then those that match."""
    for number in range(220):
        take(store, f"wallet:{number}")
    opened.look()
    opened.reads("#count", "The first 200.")
    opened.reads("#held-now", "200 at least")
    opened.click("#more")
    opened.wait("document.querySelectorAll('#rows tr').length === 220", "all of them")
    opened.value("document.querySelector('#pattern').value = 'wallet:11?'")
    opened.click("#filter button")
    opened.wait("document.querySelectorAll('#rows tr').length === 10", "ten of them")


def test_a_line_with_its_places_and_the_charts(redis_url, tab):
    """Of a store that keeps lines and remembers conflicts: who waits where and since when, how long, how often."""
    with contextlib.closing(open_store(redis_url)) as store, served(store) as site:
        held = take(store, "wallet:42")
        take(store, "wallet:7", "lock")
        for number in range(3):
            _wait_for(store, "wallet:42", Stance.GOES if number == 2 else Stance.WAITS)
        tab.open(site.url)
        tab.reads("#rows", "wallet:42")
        assert [each.split("\t")[5] for each in tab.text("#rows").splitlines()] == ["3", "0"]
        tab.reads("#waiting-now", "3")
        tab.click("#rows .link")
        tab.reads("#one-body", "For how long it had been held")
        line = tab.value("[...document.querySelectorAll('[data-part=line] tbody tr')].map((row) => row.innerText)")
        assert [each.split("\t")[:2] for each in line] == [["1", "queue"], ["2", "queue"], ["3", "away"]]
        charts = dict(name.split(": ", 1) for role, name in tab.nodes() if role in {"image", "img"})
        assert charts.keys() == {
            "Keys held",
            "Waiting in line",
            "For how long it had been held when others came",
            "Waited in line, in all",
            "Longest hold that was seen",
        }
        assert charts["Waiting in line"].startswith("3 now")
        assert charts["Longest hold that was seen"].startswith("wallet:42: ")
        assert charts["Longest hold that was seen"].endswith("3 conflicts")
        assert tab.value("document.querySelectorAll('#holds rect').length") == 1
        # This store compares the fence itself, and has nothing to add.
        assert site.release("wallet:42", str(held.fence + 1)).status == 409
        answer = site.release("wallet:42", str(held.fence))
        assert (answer.status, answer.said["note"]) == (200, "")


def _wait_for(store, key, stance):
    owner = new_owner("bank.withdraw[next]")
    store.acquire(Claim(key, owner, 30.0, ticket=Ticket(ticket_of(owner), stance)))


def test_what_a_job_does_is_asked_at_the_press_of_a_button(store, tab, monkeypatch):
    """Of the workers, where the page was started with an app; when none answers, the page says so."""
    monkeypatch.setattr(window, "PATIENCE", 0.2)
    take(store, "wallet:42")
    with (
        contextlib.closing(Celery("bank", broker="memory://", set_as_current=False)) as app,
        served(store, app) as site,
    ):
        tab.open(site.url)
        tab.click("#rows .link")
        tab.click("[data-part=actions] button:not(.danger)")
        tab.reads("#one-body", "no worker answered")
