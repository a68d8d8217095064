"""Pictures of points in the plane, coloured by label, with a legend: PNG, drawn with Pillow at twice the size and reduced."""

from __future__ import annotations

import colorsys
import io
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from tilery.lettering import font_file, letters

PLOT_PX = 760
LEGEND_PX = 250
LETTERS = 30
"""Of a label in the legend."""
MARGIN_PX = 46
LINE_PX = 21
SHOWN = 40
"""Labels in the legend and with a colour of their own: the most frequent; the others are grey."""
INK, SOFT, GRID, OTHER = "#1b2430", "#5b6775", "#e4e8ec", "#9aa5b1"
_OVER = 2


def palette(count: int) -> list[tuple[int, int, int]]:
    """Colours that differ: hues around the circle, neighbours in another lightness and saturation."""
    levels = ((0.42, 0.75), (0.60, 0.60), (0.30, 0.65))
    colours = []
    for number in range(count):
        light, strong = levels[number % len(levels)] if count > 8 else levels[0]
        red, green, blue = colorsys.hls_to_rgb(number / max(count, 1), light, strong)
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colours


def scatter(points: NDArray[np.float64], labels: Sequence[str | None], title: str, axes: tuple[str, str]) -> bytes:
    """A PNG of (n, 2) points. Raises nothing for any number of points or labels."""
    counts = Counter(label for label in labels if label is not None)
    shown = sorted(label for label, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:SHOWN])
    colours = dict(zip(shown, palette(len(shown)), strict=True))
    width = PLOT_PX + (LEGEND_PX if shown else 0)
    image = Image.new("RGB", (width * _OVER, PLOT_PX * _OVER), "white")
    draw = ImageDraw.Draw(image)
    _frame(draw, title, axes)
    radius = _OVER * (4.5 if len(points) <= 600 else 3.0 if len(points) <= 2500 else 2.2)
    places = _placed(points)
    # in an order that has nothing to do with labels: otherwise the last class lies on top everywhere
    for number in np.random.default_rng(0).permutation(len(points)):
        x, y = places[number]
        label = labels[number]
        colour = colours.get(label, OTHER) if label is not None else OTHER if shown else "#1f6f63"
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour, outline="white", width=1)
    if shown:
        _legend(draw, shown, colours, len(counts) - len(shown))
    buffer = io.BytesIO()
    small = image.resize((width, PLOT_PX), Image.Resampling.BOX)
    small.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _placed(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels of the points: both axes to the same scale, so that distances can be compared, and y upwards."""
    if not len(points):
        return np.zeros((0, 2))
    low, high = points.min(axis=0), points.max(axis=0)
    span = float((high - low).max()) or 1.0
    inner = (PLOT_PX - 2 * MARGIN_PX - 24) * _OVER
    centred = (points - (low + high) / 2) / span * inner
    placed: NDArray[np.float64] = centred * np.array([1.0, -1.0]) + PLOT_PX * _OVER / 2
    return placed


def _frame(draw: ImageDraw.ImageDraw, title: str, axes: tuple[str, str]) -> None:
    low, high = MARGIN_PX * _OVER, (PLOT_PX - MARGIN_PX) * _OVER
    for step in range(1, 6):
        at = low + (high - low) * step // 6
        draw.line((at, low, at, high), fill=GRID, width=_OVER)
        draw.line((low, at, high, at), fill=GRID, width=_OVER)
    draw.rectangle((low, low, high, high), outline="#b9c2cb", width=_OVER)
    draw.text((low, low - 10 * _OVER), title, fill=INK, font=_font(17), anchor="ls")
    draw.text((PLOT_PX * _OVER / 2, high + 10 * _OVER), axes[0], fill=SOFT, font=_font(13), anchor="ma")
    label = Image.new("L", (PLOT_PX * _OVER, 24 * _OVER), 0)
    ImageDraw.Draw(label).text((PLOT_PX * _OVER / 2, 12 * _OVER), axes[1], fill=255, font=_font(13), anchor="mm")
    draw.bitmap((10 * _OVER, 0), label.rotate(90, expand=True), fill=SOFT)


def _legend(draw: ImageDraw.ImageDraw, shown: list[str], colours: dict[str, tuple[int, int, int]], more: int) -> None:
    line = min(LINE_PX, (PLOT_PX - 2 * MARGIN_PX) // (len(shown) + bool(more))) * _OVER
    x = PLOT_PX * _OVER
    for number, label in enumerate(shown):
        y = MARGIN_PX * _OVER + number * line + line // 2
        draw.ellipse((x - 5 * _OVER, y - 5 * _OVER, x + 5 * _OVER, y + 5 * _OVER), fill=colours[label])
        name = letters(label)
        text = name if len(name) <= LETTERS else name[: LETTERS - 1] + "…"
        draw.text((x + 12 * _OVER, y), text, fill=INK, font=_font(13), anchor="lm")
    if more:
        y = MARGIN_PX * _OVER + len(shown) * line + line // 2
        draw.text((x, y), f"and {more:,} more, in grey", fill=SOFT, font=_font(13), anchor="lm")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    if file := font_file():
        return ImageFont.truetype(file, size * _OVER, layout_engine=ImageFont.Layout.BASIC)
    return ImageFont.load_default(size * _OVER)
