"""Names of places in pictures are written in their own letters."""

import pytest
from PIL import ImageFont

from tilery.lettering import font_file, letters


@pytest.mark.parametrize("text", ["Zürich Genève Ærø Łódź Kraków Iași", "Ελλάδα", "Москва", letters("Zu\u0308rich")])
def test_letters_of_europe_are_letters_and_no_boxes(text: str) -> None:
    font = ImageFont.truetype(font_file(), 24, layout_engine=ImageFont.Layout.BASIC)
    box = bytes(font.getmask("\U000f0000"))
    assert [letter for letter in text if bytes(font.getmask(letter)) == box] == []
    assert "\u0308" not in text
