"""The picture in the docs."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.web.picture import PICTURE, SCALE, WIDTH, picture

if TYPE_CHECKING:
    from tests.servers.chromium import Chromium

SMALL = 100_000


def _size(png: bytes) -> tuple[int, int]:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def test_the_picture_in_the_docs_is_of_this_page(chromium: Chromium) -> None:
    """What is made now is about as large as what is there: the page is laid out as shown. It is small to load."""
    (width, height), (shown_width, shown_height) = _size(picture(chromium)), _size(PICTURE.read_bytes())
    assert width == shown_width == WIDTH * SCALE
    # Another font has letters of another height.
    assert 0.8 < height / shown_height < 1.25
    assert PICTURE.stat().st_size < SMALL
