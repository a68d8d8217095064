"""Amounts as people write and read them: bytes, durations. Light to import."""

from __future__ import annotations

import re

from tilery.outcomes import BadInput

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15,
          "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40, "PIB": 2**50}  # fmt: skip


def read_bytes(text: str) -> float:
    """An amount as people write it: 2TB, 500 GiB, 1e12. `BadInput` for anything else.

    >>> read_bytes("2TB"), read_bytes("1.5 GiB")
    (2000000000000.0, 1610612736.0)
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?(?:[eE]\d+)?)\s*([A-Za-z]*)\s*", text)
    if not match or match[2].upper() not in _UNITS:
        raise BadInput(f"{text!r} is not an amount of bytes; write for example 2TB or 500GiB")
    return float(match[1]) * _UNITS[match[2].upper()]


def size_text(total: float) -> str:
    for unit in ("PB", "TB", "GB", "MB", "KB"):
        if total >= _UNITS[unit]:
            return f"{total / _UNITS[unit]:.4g} {unit}"
    return f"{total:.0f} B"


def duration_text(seconds: float) -> str:
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.1f} days"
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.1f} min" if seconds >= 90 else f"{seconds:.0f} s"
