"""The contact sheet: a look at every result (or an even choice of many), by folder, with the ones that failed."""

from __future__ import annotations

import io
import math
import re
from pathlib import PurePosixPath
from typing import Any

import pyvips
from PIL import Image, ImageDraw, ImageFont

from tilery.lettering import font_file, letters
from tilery.workload import Work
from tilery.workloads.images.options import ImagesOptions
from tilery.workloads.images.packs import content

CELL, GAP, LINE = 132, 10, 16
COLUMNS = 12
PREVIEW = 48
"""Pictures in the report's picture."""
MINI = 9
"""Pieces that a cell shows where they form no grid."""
MOSAIC = 64
"""Pieces of a grid that a cell shows."""
JPEG = b"\xff\xd8\xff"
_PLACE = re.compile(r"__(\d+)-(\d+)$")
PAPER, INK, SOFT, RED, PLATE = "#ffffff", "#1b2430", "#5b6775", "#b3261e", "#eef1f4"


def drawn(work: Work[ImagesOptions], rows: list[dict[str, Any]]) -> tuple[bytes, bytes]:
    """The sheet, a JPEG of these rows' pictures, and a PNG of a few of them for the report."""
    minis: dict[str, Image.Image] = {}
    sheet, preview = io.BytesIO(), io.BytesIO()
    _page(work, rows, minis).save(sheet, "JPEG", quality=85)
    few = [{**row, "folder": ""} for row in _chosen(rows, PREVIEW)]
    _page(work, few, minis, columns=8).quantize(256).save(preview, "PNG", optimize=True)
    return sheet.getvalue(), preview.getvalue()


def _chosen(rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    if len(rows) <= most:
        return rows
    return [rows[number * len(rows) // most] for number in range(most)]


def _page(
    work: Work[ImagesOptions], rows: list[dict[str, Any]], minis: dict[str, Image.Image], columns: int = COLUMNS
) -> Image.Image:
    """A grid of cells, by folder; `minis` remembers what was drawn of each source."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row["folder"], []).append(row)
    step = CELL + LINE + GAP
    columns = min(columns, max((len(group) for group in groups.values()), default=1))
    columns = max(columns, 4)
    titles = len(groups) > 1 or any(groups)
    head = LINE + GAP if titles else 0
    height = GAP + sum(head + step * math.ceil(len(group) / columns) for group in groups.values())
    page = Image.new("RGB", (GAP + columns * (CELL + GAP), height), PAPER)
    draw, font = ImageDraw.Draw(page), _font()
    y = GAP
    for folder, group in groups.items():
        if titles:
            draw.text((GAP, y), _fitting(draw, folder or "(no folder)", page.width - 2 * GAP, font), INK, font)
            y += head
        for number, row in enumerate(group):
            corner = (GAP + (number % columns) * (CELL + GAP), y + number // columns * step)
            if row["status"] == "ok" and row["source"] not in minis:
                minis[row["source"]] = _mini(work, row["pieces"])
            _cell(page, draw, font, corner, row, minis)
        y += step * math.ceil(len(group) / columns)
    return page


def _font() -> Any:
    file = font_file()
    return ImageFont.truetype(file, 12, layout_engine=ImageFont.Layout.BASIC) if file else ImageFont.load_default(12)


def _cell(
    page: Image.Image, draw: Any, font: Any, corner: tuple[int, int], row: dict[str, Any], minis: dict[str, Image.Image]
) -> None:
    x, y = corner
    draw.rectangle((x, y, x + CELL - 1, y + CELL - 1), fill=PLATE)
    if row["status"] == "error":
        draw.line((x + 46, y + 26, x + CELL - 46, y + 66), RED, 3)
        draw.line((x + 46, y + 66, x + CELL - 46, y + 26), RED, 3)
        reason = row["reason"].removeprefix("it is damaged or uses a variant that is not read: ")
        for line, text in enumerate(_wrapped(draw, reason, CELL - 12, font, 3)):
            draw.text((x + 6, y + 80 + line * 15), text, RED, font)
    else:
        page.paste(minis[row["source"]], corner)
    count = f" ({row['piece_count']})" if row["piece_count"] > 1 else ""
    name = _fitting(draw, PurePosixPath(row["source"]).name, CELL - draw.textlength(count, font), font)
    draw.text((x, y + CELL + 1), name + count, SOFT, font)


def _mini(work: Work[ImagesOptions], pieces: list[dict[str, Any]]) -> Image.Image:
    """The pieces in a square: as they lay in the picture after one split, else the first few in a grid."""
    plate = Image.new("RGB", (CELL, CELL), PLATE)
    places = _places(pieces)
    for ((x, y, width, height), _), data in zip(places, content(work, [piece for _, piece in places]), strict=True):
        small = _thumbnail(data, max(1, width), max(1, height))
        plate.paste(small, (x + (width - small.width) // 2, y + (height - small.height) // 2))
    return plate


def _places(pieces: list[dict[str, Any]]) -> list[tuple[tuple[int, int, int, int], dict[str, Any]]]:
    """Left, top, width and height of each piece in its cell."""
    found = [_PLACE.search(PurePosixPath(piece["path"]).stem) for piece in pieces]
    if len(pieces) > MOSAIC or not all(found):
        shown = pieces[:MINI]
        side = math.ceil(math.sqrt(len(shown)))
        cell = CELL // side
        inner = cell - (2 if side > 1 else 0)
        return [((n % side * cell, n // side * cell, inner, inner), piece) for n, piece in enumerate(shown)]
    grid = {(int(one[1]) - 1, int(one[2]) - 1): piece for one, piece in zip(found, pieces, strict=True) if one}
    rows, columns = (max(place[axis] for place in grid) + 1 for axis in (0, 1))
    widths = [max(grid[row, column]["width"] for row in range(rows) if (row, column) in grid) for column in range(columns)]
    heights = [max(grid[row, column]["height"] for column in range(columns) if (row, column) in grid) for row in range(rows)]
    scale = min((CELL - 2 * (columns - 1)) / sum(widths), (CELL - 2 * (rows - 1)) / sum(heights))
    left = (CELL - sum(widths) * scale - 2 * (columns - 1)) / 2
    top = (CELL - sum(heights) * scale - 2 * (rows - 1)) / 2
    return [
        (
            (
                round(left + sum(widths[:column]) * scale + 2 * column),
                round(top + sum(heights[:row]) * scale + 2 * row),
                round(widths[column] * scale),
                round(heights[row] * scale),
            ),
            piece,
        )
        for (row, column), piece in grid.items()
    ]


def _thumbnail(data: bytes, width: int, height: int) -> Image.Image:
    if data.startswith(JPEG):  # small, and made here: to set libvips up takes longer
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as opened:
            opened.thumbnail((width, height))
            return opened.convert("RGB")
    small = pyvips.Image.thumbnail_buffer(data, width, height=height, size="down").colourspace("srgb")
    if small.hasalpha():
        small = small.flatten(background=[238, 241, 244])
    if small.format != "uchar":
        small = small.cast("uchar")
    return Image.frombytes("RGB", (small.width, small.height), small.write_to_memory())


def _fitting(draw: Any, text: str, width: float, font: Any) -> str:
    """The text, or its beginning and its end: names often begin alike."""
    text = letters(text)
    shown, kept = text, len(text)
    while kept > 2 and draw.textlength(shown, font) > width:
        kept -= 1
        shown = f"{text[: kept // 2]}...{text[len(text) - (kept - kept // 2) :]}"
    return shown


def _wrapped(draw: Any, text: str, width: float, font: Any, most: int) -> list[str]:
    """At most so many lines of words; the last ends in dots if more would follow."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer, font) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    lines = [line for line in lines if line]
    if len(lines) > most:
        last = lines[most - 1]
        while " " in last and draw.textlength(f"{last} ...", font) > width:
            last = last.rpartition(" ")[0]
        lines[most - 1] = f"{last} ..."
    return [_fitting(draw, line, width, font) for line in lines[:most]]
