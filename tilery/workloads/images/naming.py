"""Names of results: readable, and never the same for two pictures, whatever the sources are called.

A result keeps its source's folder and stem. Where that is taken (`a.jpg` beside `a.png`, `A.jpg` beside `a.jpg`), every
picture of the clash gets its suffix, then a hash of its name. Names that differ only in case, or in whether an accent is a sign
of its own (as in files from a Mac), count as equal, as they do on many disks. Pieces are `STEM__ROW-COLUMN`; a stem that looks
like a piece's gets a hash.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from pathlib import PurePosixPath

_UNSAFE = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\]')
_LIKE_A_PIECE = re.compile(r"__[0-9f_-]+$")
_LONGEST = 150
"""Bytes of a stem: with a label and an ending it stays below the 255 of common file systems."""


def stems(names: list[str], ending: str) -> list[str]:
    """For each source name the path of its result, without `.ending`; all different, in any order of `names` the same.

    >>> stems(["north/a.jpg", "north/a.png", "south/a.jpg"], "jpg")
    ['north/a-jpg', 'north/a-png', 'south/a']
    """
    folders = {_on_disk(str(parent)) for name in names for parent in PurePosixPath(name).parents}
    levels = [0] * len(names)
    while True:
        candidates = [_candidate(name, level) for name, level in zip(names, levels, strict=True)]
        count = Counter(map(_on_disk, candidates))
        clashing = [
            number
            for number, candidate in enumerate(candidates)
            if levels[number] < 3 and (count[_on_disk(candidate)] > 1 or _on_disk(f"{candidate}.{ending}") in folders)
        ]
        if not clashing:
            return candidates
        for number in clashing:
            levels[number] += 1


def _on_disk(name: str) -> str:
    """Equal for names that are one file on some disks."""
    return unicodedata.normalize("NFC", name).lower()


def _candidate(name: str, level: int) -> str:
    path = PurePosixPath(name)
    stem = _UNSAFE.sub("_", path.stem).strip(" .") or "picture"
    if level:
        stem += f"-{_UNSAFE.sub('_', path.suffix[1:])}" if path.suffix else ""
    short = stem.encode()[:_LONGEST].decode(errors="ignore")
    if level > 1 or short != stem or _LIKE_A_PIECE.search(stem):
        short += "-x" + hashlib.sha256(name.encode()).hexdigest()[: 8 if level < 3 else 32]
    folder = "/".join(_UNSAFE.sub("_", part) for part in path.parts[:-1])
    return f"{folder}/{short}" if folder else short
