"""What a file name says: the date of the picture and, where a template tells, its band.

Templates are not regular expressions: a tenant's text must not be able to keep a matcher busy for ever.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

_TOKENS = {
    "{YYYY}": r"(?P<year>\d{4})",
    "{YY}": r"(?P<short>\d{2})",
    "{MM}": r"(?P<month>\d{2})",
    "{DD}": r"(?P<day>\d{2})",
    "{DOY}": r"(?P<doy>\d{3})",
    "{band}": r"(?P<band>(?:(?:SR|ST|QA)_){0,2}[A-Za-z0-9-]{1,32})",  # SR_B4, QA_PIXEL, SR_QA_AEROSOL of Landsat
}
_STARS = 6
_EARLIEST, _LATEST = date(1900, 1, 1), date(2199, 12, 31)

_CALENDAR = re.compile(r"(?<!\d)(\d{4})([-_.]?)(\d{2})\2(\d{2})(?!\d{1,5}(?:\D|$))")
_LANDSAT = re.compile(r"(?<![A-Za-z0-9])L[A-Z]\d\d{6}(\d{4})(\d{3})[A-Z]{3}\d{2}")
_ORDINAL = re.compile(r"(?<!\d)(\d{4})[-_]?(\d{3})(?!\d)")


@dataclass(frozen=True, slots=True)
class Named:
    """What a name says; `band` is empty where the template has none."""

    day: date
    band: str
    rest: str
    """The name without its band: files of one scene share it."""


class Template:
    """A pattern such as `*_{YYYY}-{MM}-{DD}_{band}.tif`, matched against a file's name without its folder.

    >>> Template("*_{YYYY}{DOY}_{band}.tif").read("site/T33_2015192_B04.tif").band
    'B04'
    """

    def __init__(self, text: str) -> None:
        parts = re.split(r"(\{[A-Za-z]+\}|\*)", text)
        unknown = [part for part in parts if part.startswith("{") and part not in _TOKENS]
        if unknown:
            raise ValueError(f"pattern {text!r}: {unknown[0]} is unknown; write {', '.join(_TOKENS)} or *")
        if text.count("*") > _STARS or any(text.count(token) > 1 for token in _TOKENS):
            raise ValueError(f"pattern {text!r}: use each part once and * at most {_STARS} times")
        if not (("{YYYY}" in text or "{YY}" in text) and (("{MM}" in text and "{DD}" in text) or "{DOY}" in text)):
            raise ValueError(f"pattern {text!r} gives no date; it needs {{YYYY}} and either {{MM}} and {{DD}}, or {{DOY}}")
        pieces: list[list[str]] = [[]]
        for part in parts:
            if part == "*":
                pieces.append([])
            else:
                pieces[-1].append(_TOKENS.get(part, re.escape(part)))
        self._pieces = [re.compile("".join(piece)) for piece in pieces]
        self._last = re.compile("(?:" + "".join(pieces[-1]) + r")\Z")

    def read(self, name: str) -> Named | None:
        """The date and band of this name; None where it does not match or is no date."""
        last = name.rsplit("/", 1)[-1]
        got = self._match(last)
        if got is None:
            return None
        year = int(got["year"]) if got.get("year") else 2000 + int(got["short"]) - (100 if int(got["short"]) >= 70 else 0)
        day = _ordinal(year, int(got["doy"])) if got.get("doy") else _calendar(year, int(got["month"]), int(got["day"]))
        if day is None:
            return None
        band = got.get("band") or ""
        rest = last[: int(got["from"])] + last[int(got["to"]) :] if band else last
        return Named(day, band, name[: len(name) - len(last)] + rest)

    def _match(self, name: str) -> dict[str, str] | None:
        """The parts of a name. Each piece between stars is looked for once, after the one before: no going back."""
        if len(self._pieces) == 1:
            matches = [self._pieces[0].fullmatch(name)]
        else:
            matches = [self._pieces[0].match(name)]
            for piece in [*self._pieces[1:-1], self._last]:
                before = matches[-1]
                matches.append(piece.search(name, before.end()) if before else None)
        got: dict[str, str] = {}
        for match in matches:
            if match is None:
                return None
            got |= match.groupdict()
            if "band" in match.groupdict():
                got |= {"from": str(match.start("band")), "to": str(match.end("band"))}
        return got


def guess(name: str) -> date | None:
    """The first date in a file name in a usual form: 2015-07-11, 20150711, LT50350322000296..., A2013257.

    >>> guess("TERRA_MODIS_012010_NDVI_2013-09-14.jp2"), guess("LT50350322000296XXX02_stack.gtif")
    (datetime.date(2013, 9, 14), datetime.date(2000, 10, 22))
    """
    last = name.rsplit("/", 1)[-1]
    landsat = _LANDSAT.search(last)
    if landsat:
        return _ordinal(int(landsat[1]), int(landsat[2]))
    for match in _CALENDAR.finditer(last):
        day = _calendar(int(match[1]), int(match[3]), int(match[4]))
        if day:
            return day
    for match in _ORDINAL.finditer(last):
        day = _ordinal(int(match[1]), int(match[2]))
        if day:
            return day
    return None


def from_text(text: str) -> date | None:
    """The date at the start of a tag: 2015-07-11T10:00:08Z, 2015:07:11 10:00:08, 20150711.

    >>> from_text("2015:07:11 10:00:08")
    datetime.date(2015, 7, 11)
    """
    match = re.match(r"\s*(\d{4})([-:/.]?)(\d{2})\2(\d{2})(?!\d(?:\D|$))", text)
    return _calendar(int(match[1]), int(match[3]), int(match[4])) if match else None


def _calendar(year: int, month: int, day: int) -> date | None:
    try:
        found = date(year, month, day)
    except ValueError:
        return None
    return found if _EARLIEST <= found <= _LATEST else None


def _ordinal(year: int, day_of_year: int) -> date | None:
    """Day 366 of a common year is 1 January: there are Landsat scenes named so."""
    if not 1900 <= year <= 2199 or not 1 <= day_of_year <= 366:
        return None
    return date(year, 1, 1) + timedelta(days=day_of_year - 1)
