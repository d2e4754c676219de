"""The page in a browser: headless Chromium, which sees this machine alone."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING

import pytest

from celery_locks.errors import StoreUnavailable
from celery_locks.lease import Claim, new_owner
from celery_locks.stores import open_store
from celery_locks.stores.memory import MemoryStore
from celery_locks.ticket import Stance, Ticket, ticket_of
from tests.web.browser import Tab
from tests.web.visitor import Site, served, take

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.chromium import Chromium

RELEASE = "#rows button.danger"
YES = "#sure button[value=yes]"
#: A key that would be an element, if it were not a text.
MARKUP = '<img src=x onerror="globalThis.struck=1">\'"><script>globalThis.struck=1</script>'


@pytest.fixture
def tab(chromium: Chromium) -> Iterator[Tab]:
    """A new tab. What it must never do is looked at when its test has ended."""
    tab = Tab(chromium)
    yield tab
    tab.close()
    assert [url for url in tab.asked if not url.startswith(("http://127.0.0.1:", "data:,"))] == []


@pytest.fixture
def opened(tab: Tab, site: Site) -> Tab:
    """The page of the store."""
    tab.open(site.url)
    tab.wait("document.readyState === 'complete' && !document.querySelector('#all').hidden", "the page to be shown")
    return tab


def test_the_page_shows_what_is_held_and_goes_on_to(store, site, tab):
    """Without a complaint of the browser; the pass is out of the address at once, and stays in this tab."""
    take(store, "wallet:42")
    tab.open(site.url)
    tab.reads("#rows", "wallet:42")
    assert tab.value("location.href") == f"{site.origin}/"
    assert [url for url in tab.asked if "pass" in url.partition("#")[0]] == []
    take(store, "wallet:43", "bank.deposit[7c]")
    tab.reads("#rows", "bank.deposit")
    tab.do("Page.reload")
    tab.reads("#rows", "wallet:43")
    assert tab.value("document.cookie") == ""
    assert tab.complaints == []


def test_a_key_that_looks_like_markup_is_a_text(store, site, tab):
    """In the list, in the line of one key, and in the question before a release."""
    take(store, MARKUP, f"{MARKUP}[6b1c]")
    tab.open(site.url)
    tab.reads("#rows", MARKUP)
    tab.click("#rows .link")
    tab.reads("#one-key", MARKUP)
    tab.reads("#one-body", "fence")
    tab.click(RELEASE)
    tab.reads("#sure-what", MARKUP)
    tab.click(YES)
    tab.reads("#done", "Released <img")
    assert tab.value("globalThis.struck ?? null") is None
    assert tab.value("document.querySelectorAll('main img, main script, dialog img').length") == 0
    assert tab.complaints == []


def test_a_release_asks_first_and_a_keyboard_is_enough(store, opened):
    """The safe answer has the focus; it and Escape change nothing; the other frees the key and says what that does."""
    take(store, "wallet:42")
    opened.reads("#rows", "wallet:42")
    opened.value("document.querySelector('#rows .link').focus()")
    opened.press("Tab")
    assert opened.value("document.activeElement.getAttribute('aria-label')").startswith("Release wallet:42, held by")
    for refusal in ("Enter", "Escape"):
        opened.press("Enter")
        opened.wait("document.querySelector('#sure').open", "the question")
        assert opened.value("document.activeElement.value") == "no"
        opened.press(refusal)
        opened.wait("!document.querySelector('#sure').open", "the question to be over")
    assert store.inspect("wallet:42") is not None
    opened.press("Enter")
    opened.wait("document.querySelector('#sure').open", "the question")
    opened.press("Tab")
    opened.press("Enter")
    opened.reads("#done", "Released wallet:42")
    opened.reads("#one-body", "It is free.")
    assert store.inspect("wallet:42") is None
    opened.press("Escape")
    opened.wait("document.querySelector('#one').hidden", "the key to be closed")


def test_a_holder_that_came_while_the_question_stood_open_keeps_its_key(store, opened):
    """And the page says that nothing was changed."""
    seen = take(store, "wallet:42")
    opened.click(RELEASE)
    opened.reads("#sure-who", str(seen.fence))
    store.release(seen.claim)
    take(store, "wallet:42")
    opened.click(YES)
    opened.reads("#done", "not held by the one that was shown any more: nothing was changed")
    assert store.inspect("wallet:42") is not None


def test_whoever_is_at_a_row_stays_there_when_others_come(store, opened):
    """The list is sorted anew, and the focus goes with its row."""
    take(store, "wallet:5")
    opened.reads("#rows", "wallet:5")
    opened.value("document.querySelector('#rows .link').focus()")
    take(store, "wallet:1")
    opened.reads("#rows", "wallet:1")
    assert opened.value("document.activeElement.innerText") == "wallet:5"
    assert opened.value("document.querySelector('#rows .link').innerText") == "wallet:1"


def test_without_the_pass_there_is_a_door(store, site, tab):
    """It takes the pass or the whole URL, and shows nothing for a wrong one."""
    take(store, "wallet:42")
    tab.open(f"{site.origin}/")
    tab.reads("#entry", "open the URL that the command has printed")
    for given in ("wrong", site.url):
        tab.value("document.querySelector('#pass').focus()")
        assert "wallet:42" not in tab.text("body")
        tab.type(given)
        tab.press("Enter")
        tab.wait("document.querySelector('#pass').value === ''", "it to be tried")
    tab.reads("#rows", "wallet:42")
    assert tab.value("document.querySelector('#entry').hidden")


def test_another_page_gets_nothing_from_this_one(store, site, tab):
    """A page of somebody else in the same browser: it may not read, release, nor put it in a frame."""
    lease = take(store, "wallet:42")
    told = json.dumps({"key": "wallet:42", "fence": str(lease.fence)})
    kinds = {"mode": "no-cors", "method": "POST", "body": told}
    for how in (kinds, {**kinds, "credentials": "include"}, {**kinds, "headers": {"Content-Type": "text/plain"}}):
        tab.value(f"fetch('{site.origin}/api/release', {json.dumps(how)}).then(() => 1, () => 2)")
    withs = {"headers": {"X-Celery-Locks-Pass": site.known}}
    read = f"fetch('{site.origin}/api/locks', {json.dumps(withs)}).then(() => 'read', () => 'refused')"
    assert tab.value(read) == "refused"
    assert store.inspect("wallet:42") is not None
    tab.value(f"document.body.append(Object.assign(document.createElement('iframe'), {{src: '{site.url}'}}))")
    tab.wait("document.querySelector('iframe').contentDocument === null", "the frame to be loaded, or not")
    assert [each for each in tab.complaints if "frame-ancestors" in each]


class _Moody(MemoryStore):
    is_down = False

    def list(self, pattern="*"):
        if self.is_down:
            raise StoreUnavailable("redis://bank:6379/0 did not answer: is it up?")
        return super().list(pattern)


def test_a_store_that_is_away_is_said_and_what_is_old_is_named_so(tab):
    """What was seen stays, and it goes on by itself when the store is back; so when the command was ended."""
    store = _Moody()
    take(store, "wallet:42")
    with served(store) as site:
        tab.open(site.url)
        tab.reads("#rows", "wallet:42")
        store.is_down = True
        tab.reads("#trouble", "redis://bank:6379/0 did not answer")
        tab.reads("#state", "What is shown is old.")
        tab.reads("#rows", "wallet:42")
        store.is_down = False
        tab.wait("document.querySelector('#trouble').hidden", "the trouble to be over")
    tab.reads("#trouble", "was it ended?")


def test_a_line_with_its_places_and_the_charts(redis_url, tab):
    """Of a store that keeps lines and remembers conflicts: who waits where and since when, how long, how often."""
    with contextlib.closing(open_store(redis_url)) as store, served(store) as site:
        take(store, "wallet:42")
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


def _wait_for(store, key, stance):
    owner = new_owner("bank.withdraw[next]")
    store.acquire(Claim(key, owner, 30.0, ticket=Ticket(ticket_of(owner), stance)))


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
    opened.reads("#count", "The first 200.")
    opened.reads("#held-now", "200 at least")
    opened.click("#more")
    opened.wait("document.querySelectorAll('#rows tr').length === 220", "all of them")
    opened.value("document.querySelector('#pattern').value = 'wallet:11?'")
    opened.click("#filter button")
    opened.wait("document.querySelectorAll('#rows tr').length === 10", "ten of them")
