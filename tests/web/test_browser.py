"""The page in a browser: headless Chromium, which sees this machine alone."""

from __future__ import annotations

import json

from celery_locks.errors import StoreUnavailable
from celery_locks.stores.memory import MemoryStore
from tests.web.visitor import served, take

RELEASE = "#rows button.danger"
YES = "#sure button[value=yes]"
#: A key that would be an element, if it were not a text.
MARKUP = '<img src=x onerror="globalThis.struck=1">\'"><script>globalThis.struck=1</script>'


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
    opened.look()
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
    opened.look()
    opened.click(RELEASE)
    opened.reads("#sure-who", str(seen.fence))
    store.release(seen.claim)
    take(store, "wallet:42")
    opened.click(YES)
    opened.reads("#done", "not held by the one that was shown any more: nothing was changed")
    assert store.inspect("wallet:42") is not None


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
        tab.look()
        tab.reads("#trouble", "redis://bank:6379/0 did not answer")
        tab.reads("#state", "What is shown is old.")
        tab.reads("#rows", "wallet:42")
        store.is_down = False
        tab.look()
        tab.wait("document.querySelector('#trouble').hidden", "the trouble to be over")
    tab.look()
    tab.reads("#trouble", "was it ended?")
