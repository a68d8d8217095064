"""The letters of drawn pictures: Roboto's, of Latin, Greek and Cyrillic. Pillow's own font has no umlaut and draws boxes.

The file comes with a package (Apache-2.0) and never from the system, so that pictures are the same on every machine.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from importlib.util import find_spec
from pathlib import Path


@cache
def font_file() -> str:
    """The path of the font; empty where its package is not installed, and Pillow's letters have to do."""
    found = find_spec("font_roboto")  # its own code would look through all its files
    folders = list(found.submodule_search_locations or []) if found else []
    return next((str(file) for folder in folders if (file := Path(folder, "files/Roboto-Regular.ttf")).is_file()), "")


def letters(text: str) -> str:
    """The text with each letter and its accent as one sign, as fonts have them; files from a Mac have them apart."""
    return unicodedata.normalize("NFC", text)
