"""The map of slopes in diverging colours, with what is not significant faded, and the plots of single pixels' series."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date
from math import floor, hypot, log10
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tilery.workloads.trend.seasonal import YEAR_DAYS

STOPS = np.array(
    [(102, 52, 12), (150, 90, 30), (196, 145, 75), (230, 206, 160), (245, 243, 238), (178, 216, 205), (105, 175, 158),
     (40, 122, 108), (4, 74, 62)], np.float64,
)  # fmt: skip
"""Brown (falling) over white to green (rising): told apart by people who do not see red and green."""
NOTHING = (255, 255, 255)
HATCH = (214, 217, 222)
INK, SOFT, LINE = (27, 36, 48), (91, 103, 117), (206, 212, 219)
MARGIN = 24
LARGEST, SMALLEST = 1600, 600
"""Pixels of the longer side of the map."""


def limit_of(slope: NDArray[Any]) -> float:
    """A round number near the 98th percentile of the slopes' size: where the colours end."""
    sizes = np.abs(slope[np.isfinite(slope)])
    top = float(np.percentile(sizes, 98)) if sizes.size else 0.0
    if top <= 0:
        return 1.0
    power = 10.0 ** floor(log10(top))
    return next(step * power for step in (1, 1.5, 2, 3, 5, 7.5, 10) if step * power >= top * 0.999)


def colours(slope: NDArray[Any], p: NDArray[Any], limit: float, alpha: float) -> NDArray[np.uint8]:
    """(height, width, 3): significant slopes in full colour, others faded with dots, no trend hatched."""
    shade = np.clip((np.nan_to_num(slope) / limit + 1) / 2, 0, 1) * (len(STOPS) - 1)
    below = np.minimum(shade.astype(np.int64), len(STOPS) - 2)
    share = (shade - below)[..., None]
    full = STOPS[below] * (1 - share) + STOPS[below + 1] * share
    with np.errstate(invalid="ignore"):
        faded = 0.35 * full + 0.65 * np.array([238, 239, 241])
        picture = np.where((p < alpha)[..., None], full, faded)
    rows, columns = np.indices(slope.shape)
    hatch = np.where((((rows + columns) // 3) % 3 == 0)[..., None], np.array(HATCH), np.array(NOTHING))
    return np.where(np.isfinite(slope)[..., None], picture, hatch).round().astype(np.uint8)


def overview(
    slope: NDArray[Any], p: NDArray[Any], alpha: float, title: str, unit: str, marks: Sequence[tuple[float, float]]
) -> bytes:
    """The map as PNG, with title, colour bar, legend, and numbered marks at (column, row) shares of the picture, 0 to 1."""
    limit = limit_of(slope)
    picture = Image.fromarray(colours(slope, p, limit, alpha))
    factor = max(1, -(-SMALLEST // max(picture.size)))
    picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)
    width = max(picture.width, 560)
    canvas = Image.new("RGB", (width + 2 * MARGIN, picture.height + 150), NOTHING)
    draw = ImageDraw.Draw(canvas)
    draw.text((MARGIN, 16), title, INK, _font(20))
    left, top = MARGIN + (width - picture.width) // 2, 52
    canvas.paste(picture, (left, top))
    draw.rectangle((left - 1, top - 1, left + picture.width, top + picture.height), outline=LINE)
    for number, (x, y) in enumerate(marks, 1):
        _mark(draw, left + x * picture.width, top + y * picture.height, str(number))
    _legend(canvas, top + picture.height + 22, limit, alpha, unit, width)
    return _png(canvas)


def series(pixels: Sequence[dict[str, Any]], epoch: date, quantity: str) -> bytes:
    """Small plots, one a pixel, of values over time with the fitted line; as PNG."""
    wide, high, columns = 560, 250, 2 if len(pixels) > 1 else 1
    rows = -(-len(pixels) // columns)
    canvas = Image.new("RGB", (columns * wide, max(rows, 1) * high), NOTHING)
    draw = ImageDraw.Draw(canvas)
    for number, pixel in enumerate(pixels):
        _plot(draw, (number % columns * wide, number // columns * high), (wide, high), number + 1, pixel, epoch, quantity)
    return _png(canvas)


def _plot(
    draw: ImageDraw.ImageDraw,
    at: tuple[int, int],
    size: tuple[int, int],
    number: int,
    pixel: dict[str, Any],
    epoch: date,
    quantity: str,
) -> None:
    left, top, right, bottom = at[0] + 66, at[1] + 44, at[0] + size[0] - 20, at[1] + size[1] - 34
    head = f"{number}  column {pixel['column']}, row {pixel['row']}: {pixel['slope']:+.3g} {quantity} per year"
    draw.text((at[0] + 20, at[1] + 10), head, INK, _font(14))
    draw.text((at[0] + 20, at[1] + 27), f"n {pixel['n']}, R2 {pixel['r2']:.2f}, p {pixel['p']:.2g}", SOFT, _font(12))
    days = np.array([(date.fromisoformat(text) - epoch).days for text in pixel["dates"]], np.float64)
    values = np.array(pixel["values"])
    fitted, ranks = _fitted(pixel, days, epoch), _ranks(pixel, days)
    drawn = np.concatenate([values, *[line[1] for line in (fitted, ranks) if line]])
    low, high = float(drawn.min()), float(drawn.max())
    pad = 0.06 * (high - low) or 1.0
    low, high = low - pad, high + pad
    span = max(float(days[-1] - days[0]), 1.0)

    def place(day: float, value: float) -> tuple[float, float]:
        return left + (day - days[0]) / span * (right - left), bottom - (value - low) / (high - low) * (bottom - top)

    for value in _ticks(low, high):
        y = place(days[0], value)[1]
        draw.line((left, y, right, y), LINE)
        draw.text((left - 8, y), f"{value:.4g}", SOFT, _font(11), anchor="rm")
    for day, text in _times(*(date.fromisoformat(pixel["dates"][end]) for end in (0, -1))):
        x = place(float((day - epoch).days), low)[0]
        draw.line((x, bottom, x, bottom + 5), SOFT)
        draw.text((x, bottom + 8), text, SOFT, _font(11), anchor="ma")
    draw.line((left, bottom, right, bottom), SOFT)
    for day, value in zip(days, values, strict=True):
        x, y = place(float(day), float(value))
        draw.ellipse((x - 2.5, y - 2.5, x + 2.5, y + 2.5), fill=(58, 110, 165))
    colour = (4, 110, 90) if pixel["slope"] > 0 else (150, 80, 20)
    if ranks:
        _dashed(draw, [place(*one) for one in zip(*ranks, strict=True)])
    draw.line([place(*one) for one in zip(*fitted, strict=True)], colour, 3, joint="curve")


Curve = tuple[NDArray[Any], NDArray[Any]]


def _fitted(pixel: dict[str, Any], days: NDArray[Any], epoch: date) -> Curve:
    """The fitted model of a pixel as days and values, between its first date and its last: a line, or one with its seasons."""
    if "curve" not in pixel:
        ends = days[[0, -1]]
        return ends, pixel["intercept"] + pixel["slope"] / YEAR_DAYS * ends
    at = np.array([(date.fromisoformat(text) - epoch).days for text in pixel["curve"]["dates"]], np.float64)
    inside = (at >= days[0]) & (at <= days[-1])
    return at[inside], np.array(pixel["curve"]["values"])[inside]


def _ranks(pixel: dict[str, Any], days: NDArray[Any]) -> Curve | None:
    if "sen_slope" not in pixel:
        return None
    ends = days[[0, -1]]
    return ends, pixel["sen_intercept"] + pixel["sen_slope"] / YEAR_DAYS * ends


def _dashed(draw: ImageDraw.ImageDraw, line: Sequence[tuple[float, float]]) -> None:
    (x, y), (to_x, to_y) = line
    parts = max(1, round(hypot(to_x - x, to_y - y) / 7))
    for part in range(0, parts, 2):
        ends = [(x + (to_x - x) * share, y + (to_y - y) * share) for share in (part / parts, min(1, (part + 1) / parts))]
        draw.line(ends, INK, 2)


def _legend(canvas: Image.Image, top: int, limit: float, alpha: float, unit: str, width: int) -> None:
    draw = ImageDraw.Draw(canvas)
    length = min(320, width // 2)
    for x in range(length):
        colour = colours(np.array([[(2 * x / (length - 1) - 1) * limit]]), np.zeros((1, 1)), limit, 0.5)[0, 0]
        draw.line((MARGIN + x, top, MARGIN + x, top + 16), tuple(int(part) for part in colour))
    for share, text in ((0.0, f"{-limit:g}"), (0.5, "0"), (1.0, f"+{limit:g}")):
        anchor = "la" if share == 0 else "ma" if share == 0.5 else "ra"
        draw.text((MARGIN + share * length, top + 21), text, SOFT, _font(12), anchor=anchor)
    draw.text((MARGIN, top + 40), unit, SOFT, _font(12))
    x = MARGIN + length + 36
    for row, (slope, text) in enumerate(((limit, f"p < {alpha:g}"), (limit, f"p >= {alpha:g}, faded"), (np.nan, "no trend"))):
        p = np.full((14, 22), 0.0 if row == 0 else 1.0)
        patch = Image.fromarray(colours(np.full((14, 22), slope), p, limit, alpha))
        canvas.paste(patch, (x, top + 20 * row))
        draw.rectangle((x - 1, top + 20 * row - 1, x + 22, top + 20 * row + 14), outline=LINE)
        draw.text((x + 30, top + 20 * row + 7), text, SOFT, _font(12), anchor="lm")


def _mark(draw: ImageDraw.ImageDraw, x: float, y: float, text: str) -> None:
    draw.ellipse((x - 9, y - 9, x + 9, y + 9), fill=(255, 255, 255), outline=INK, width=2)
    draw.text((x, y), text, INK, _font(12), anchor="mm")


def _ticks(low: float, high: float) -> list[float]:
    raw = (high - low) / 4
    power = 10.0 ** floor(log10(raw))
    step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= raw * 0.999)
    first = int(np.ceil(low / step))
    return [number * step for number in range(first, int(np.floor(high / step)) + 1)]


def _times(first: date, last: date) -> list[tuple[date, str]]:
    """The days that are named along a plot: new years; of a short series, months too.

    >>> [text for _, text in _times(date(2019, 3, 5), date(2019, 9, 6))]
    ['2019-04', '2019-05', '2019-06', '2019-07', '2019-08', '2019-09']
    """
    years = [date(year, 1, 1) for year in range(first.year, last.year + 2, max(1, (last.year - first.year) // 8))]
    named = [(day, str(day.year)) for day in years if first <= day <= last]
    if len(named) > 1:
        return named
    months = [date(month // 12, month % 12 + 1, 1) for month in range(first.year * 12, last.year * 12 + 12)]
    inside = [day for day in months if first <= day <= last]
    return [(day, f"{day:%Y-%m}") for day in inside if (day.month - 1) % (1 + len(inside) // 8) == 0]


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
