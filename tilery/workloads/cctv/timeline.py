"""Clips of one camera on one timeline: by the times in their names, by their metadata, or one after the other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tilery.outcomes import BadInput
from tilery.workloads.cctv.probe import Probed

ROUNDING_US = 1_000_000
"""Names and metadata give whole seconds: clips that seem to overlap by less follow each other."""
LISTED = 5
_MOMENT = re.compile(
    r"""(?<!\d)((?:19|20)\d\d)[-_.]?(\d\d)[-_.]?(\d\d)        # year, month, day
    (?:[-_ T.]{0,3}|_?\ at\ )
    (\d\d)(?:[-_:.h]?(\d\d)[-_:.m]?(\d\d)s?|[-:.h](\d\d)m?)  # hour, minute, second, or hour and minute
    (?:[.,_-]?(\d{3}))?                                      # milliseconds
    (?:[ _]?([AP]M)\b)?
    (Z|\+\d\d[-:]?\d\d|-\d\d:\d\d)?(?!\d)                  # away from UTC""",
    re.VERBOSE | re.IGNORECASE,
)
_EPOCH = re.compile(r"(?<!\d)(1[0-9]{9})(\d{3})?(?!\d)")
"""Seconds or milliseconds since 1970, from 2001 to 2033."""


def named(name: str, zone: tzinfo, *, joined: bool = True) -> datetime | None:
    """The moment in a file name, of the last part of its path that has one; or (`joined`) of folders and name together.

    >>> named("ch01_20240131-235959.mp4", UTC).isoformat()
    '2024-01-31T23:59:59+00:00'
    """
    for part in (*reversed(name.split("/")), *([name.replace("/", "-")] if joined else [])):
        if found := _MOMENT.search(part):
            year, month, day, hour, minute, second, only_minute, milliseconds = (int(text or 0) for text in found.groups()[:8])
            try:
                hour = hour % 12 + 12 * (found[9].upper() == "PM") if found[9] and hour <= 12 else hour
                there = _away(found[10]) if found[10] else zone
                return datetime(year, month, day, hour, minute or only_minute, second, milliseconds * 1000, there)
            except ValueError:
                continue
        if epoch := _EPOCH.search(part):
            return datetime.fromtimestamp(int(epoch[1]), UTC) + timedelta(milliseconds=int(epoch[2] or 0))
    return None


def _away(text: str) -> tzinfo:
    """The zone of `Z`, `+0100`, `+01:00` or `+01-00`."""
    if text.upper() == "Z":
        return UTC
    away = timedelta(hours=int(text[1:3]), minutes=int(text[-2:]))
    return timezone(away if text[0] == "+" else -away)


def zone_of(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise BadInput(f"option 'zone': there is no time zone {name!r}; give one as Europe/Rome") from None


def natural(name: str) -> list[tuple[int, int | str]]:
    """A key that sorts frame2 before frame10.

    >>> sorted(["f10", "f9", "e1"], key=natural)
    ['e1', 'f9', 'f10']
    """
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name) if part]


def placed(
    probed: Sequence[Probed], start: datetime | None, zone: tzinfo, gap_s: float
) -> tuple[list[Probed], datetime | None, list[str]]:
    """The clips in order with their offsets, when the timeline begins, and what the user should know.

    Moments come from all names, else from all metadata, else clips follow each other in the natural order of their names.
    `start` moves the whole: it is when the first clip begins.
    """
    ordered = sorted(probed, key=lambda found: natural(found.clip.name))
    moments, source = _moments(ordered, zone)
    if start is not None and start.tzinfo is None:
        start = start.replace(tzinfo=zone)
    if moments is None:
        warnings = _order_told(ordered)
        return _in_a_row(ordered), start, warnings
    pairs = sorted(zip(moments, ordered, strict=True), key=lambda pair: pair[0])
    zero = pairs[0][0]
    offsets = [(moment - zero) // timedelta(microseconds=1) for moment, _ in pairs]
    kept, warnings = _without_overlaps(offsets, [found for _, found in pairs], source, gap_s)
    return kept, start or zero, warnings


def _moments(ordered: Sequence[Probed], zone: tzinfo) -> tuple[list[datetime] | None, str]:
    for source, moments in (
        ("their names", [named(found.clip.name, zone, joined=found.clip.kind == "video") for found in ordered]),
        ("their metadata", [found.created for found in ordered]),
    ):
        # in UTC: moments of one zone are subtracted by what their clocks show, which summer time sets forward
        known = [moment.astimezone(UTC) for moment in moments if moment is not None]
        if len(known) == len(ordered) and (len(set(known)) == len(known) or source == "their names"):
            return known, source
    return None, ""


def _order_told(ordered: Sequence[Probed]) -> list[str]:
    if len(ordered) < 2:
        return []
    return [
        f"the {len(ordered)} clips have no times in all of their names or metadata; they follow each other in the order of "
        f"their names, from {ordered[0].clip.name} to {ordered[-1].clip.name}"
    ]


def _in_a_row(ordered: Sequence[Probed]) -> list[Probed]:
    at, row = 0, []
    for found in ordered:
        row.append(replace(found, clip=replace(found.clip, offset_us=at)))
        at += found.clip.duration_us
    return row


def _without_overlaps(
    offsets: Sequence[int], ordered: Sequence[Probed], source: str, gap_s: float
) -> tuple[list[Probed], list[str]]:
    """Of two clips that overlap the earlier one is shown; gaps stay."""
    end = 0
    kept: list[Probed] = []
    overlaps: list[str] = []
    gaps: list[str] = []
    for offset, found in zip(offsets, ordered, strict=True):
        clip = found.clip
        over = end - offset
        if kept and 0 < over < ROUNDING_US:
            offset, over = end, 0
        if over >= clip.duration_us:
            overlaps.append(f"{clip.name} lies within the clips before it and is left out")
            continue
        if over > 0:
            overlaps.append(f"the first {over / 1e6:.3f} s of {clip.name} are left out")
        elif kept and -over > gap_s * 1e6:
            gaps.append(f"{-over / 1e6:.1f} s before {clip.name}")
        kept.append(replace(found, clip=replace(clip, offset_us=offset, skip_us=max(0, over))))
        end = offset + clip.duration_us
    warnings = []
    if overlaps:
        warnings.append(f"clips overlap by {source}: " + _listed(overlaps))
    if gaps:
        warnings.append(f"nothing was filmed, by {source}: " + _listed(gaps))
    return kept, warnings


def _listed(sentences: Sequence[str]) -> str:
    more = f"; and {len(sentences) - LISTED} more" if len(sentences) > LISTED else ""
    return "; ".join(sentences[:LISTED]) + more
