"""The scripts, one a verb, each in its own file."""

from __future__ import annotations

import hashlib
from importlib.resources import files
from typing import NamedTuple

from celery_locks.stores.redis import scripts as single
from celery_locks.stores.redlock.protocol import packed_part


class Script(NamedTuple):
    """The beginning of two requests: one that names the script, and one that brings it along."""

    by_sha: bytes
    in_full: bytes


def _script(text: str) -> Script:
    sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
    return Script(packed_part("EVALSHA", sha), packed_part("EVAL", text))


def _read(verb: str) -> Script:
    return _script((files("celery_locks.stores.redlock") / "scripts" / f"{verb}.lua").read_text("utf-8"))


ACQUIRE = _read("acquire")
SETTLE = _read("settle")
UNDO = _read("undo")
RENEW = _read("renew")
RELEASE = _read("release")
# To look, to force and to note means the same on one of many nodes as on a single one.
INSPECT = _script(single.INSPECT.text)
FORCE_RELEASE = _script(single.FORCE_RELEASE.text)
NOTE = _script(single.NOTE.text)
IS_NOTED = _script(single.IS_NOTED.text)
