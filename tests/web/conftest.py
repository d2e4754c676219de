"""The page as a test may have it."""

from __future__ import annotations

import contextlib
import uuid
from typing import TYPE_CHECKING

import pytest

from celery_locks.stores import open_store
from tests.web.browser import Tab
from tests.web.visitor import Site, served

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery_locks.stores import Store
    from tests.servers.chromium import Chromium


@pytest.fixture
def store() -> Iterator[Store]:
    """An empty store."""
    with contextlib.closing(open_store(f"memory://{uuid.uuid4().hex}")) as store:
        yield store


@pytest.fixture
def site(store: Store) -> Iterator[Site]:
    """Its page."""
    with served(store) as site:
        yield site


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
