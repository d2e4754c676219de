"""What to do about a server's error, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHECK = "check that the server runs and that the URL is right"
_LONGEST = 200


def remedy(advice: Mapping[str, str], text: str, otherwise: str = _CHECK) -> str:
    """The advice for the first sign that is found in an error's text."""
    return next((words for sign, words in advice.items() if sign in text), otherwise)


def said(error: BaseException) -> str:
    """What an error says, on one line and not too long; its name when it says nothing."""
    return " ".join(str(error).split())[:_LONGEST] or type(error).__name__
