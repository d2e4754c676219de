"""The scripts, one a verb, each in its own file."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import NamedTuple


class Script(NamedTuple):
    """A script's text and the name Redis knows it by."""

    text: str
    sha: str


def _read(verb: str) -> Script:
    text = (files("celery_locks.stores.redis") / "scripts" / f"{verb}.lua").read_text("utf-8")
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


ACQUIRE = _read("acquire")
RENEW = _read("renew")
RELEASE = _read("release")
FORCE_RELEASE = _read("force_release")
INSPECT = _read("inspect")
