"""What docs/fencing shows works: its blocks of Python are run, page by page, from top to bottom."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import redis

from celery_locks import Locks

DOCS = Path(__file__).parents[2] / "docs" / "fencing"
#: What a block may use without saying where it comes from: the URL of a server that is there, by the fixture's name.
SERVERS = ("REDIS_URL", "VALKEY_URL", "POSTGRES_URL", "MARIADB_URL", "SQLITE_URL")
#: A page that needs more around it than servers has a test of its own, which makes that.
PAGES = sorted(page for page in DOCS.glob("*.md") if not (Path(__file__).parent / f"test_{page.stem}_docs.py").exists())
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_runs(page: Path, request: pytest.FixtureRequest) -> None:
    """Each block, in the names of those before it."""
    text = page.read_text(encoding="utf-8")
    names = {name: request.getfixturevalue(name.lower()) for name in SERVERS if name in text}
    names["__name__"] = "__main__"
    blocks = list(_BLOCK.finditer(text))
    assert blocks, "a page without an example"
    for block in blocks:
        line = text.count("\n", 0, block.start(1))
        # So that a traceback names the line in the page.
        exec(compile("\n" * line + block[1], page, "exec"), names)  # noqa: S102 - that is what is tested
    # What a page leaves open is collected in another test, which would be told so.
    for each in names.values():
        if isinstance(each, (Locks, redis.Redis)):
            each.close()


def test_every_page_is_linked() -> None:
    """From the first page; and what it links is there, or is the page of a guard of its own."""
    text = (DOCS / "README.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([a-z]+\.md)", text))
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} <= linked
