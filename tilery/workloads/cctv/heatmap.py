"""The picture of a heat map: a grid in colours over the background, with lines, zones, spots and a legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from tilery.workloads.cctv.heat import Heat, Spot
from tilery.workloads.cctv.options import Line, Polygon

Picture = NDArray[np.uint8]
What = Literal["occupancy", "flow", "speed"]
TITLES = {"occupancy": "occupancy (s)", "flow": "flow (road users)", "speed": "mean speed"}
WHITE, BLACK, LINE, ZONE = (255, 255, 255), (0, 0, 0), (255, 210, 0), (0, 220, 255)
LEAST_WIDTH = 720
"""Smaller pictures are enlarged, so that the writing can be read."""


def heatmap(
    found: Heat,
    background: Picture,
    what: What,
    lines: Mapping[str, Line] | None = None,
    zones: Mapping[str, Polygon] | None = None,
    spots: Sequence[Spot] = (),
) -> bytes:
    """A PNG. background: (height, width, 3) RGB of the reference frame, of any size with its proportions.

    Colours run from nothing to the 99th percentile of what is there; equal input gives equal bytes.
    """
    size = found.cell_px * max(found.flow.shape)
    zoom = max(1.0, LEAST_WIDTH / background.shape[1])
    picture = np.asarray(cv2.resize(background, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR), np.uint8)
    scale = max(picture.shape[:2]) / size
    grid, alpha, top = _layer(found, what)
    picture = _blend(picture, grid / top, alpha, found.cell_px * scale)
    for name, polygon in (zones or {}).items():
        corners = np.round(np.array(polygon) * scale).astype(np.int32)
        cv2.polylines(picture, [corners], True, ZONE, 2, cv2.LINE_AA)
        _write(picture, name, corners.mean(0), ZONE)
    for name, line in (lines or {}).items():
        _draw_line(picture, name, np.array(line) * scale)
    for spot in spots:
        at = (round(spot.x * scale), round(spot.y * scale))
        cv2.circle(picture, at, 9, BLACK, 3, cv2.LINE_AA)
        cv2.circle(picture, at, 9, WHITE if spot.kind == "high" else (150, 150, 150), 1, cv2.LINE_AA)
    title = TITLES[what] + (f" ({found.unit})" if what == "speed" else "")
    _, data = cv2.imencode(".png", cv2.cvtColor(_with_legend(picture, title, top), cv2.COLOR_RGB2BGR))
    return data.tobytes()


def _layer(found: Heat, what: What) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Values, how opaque they are drawn (0 to 1), and the value of the brightest colour."""
    if what == "speed":
        there = np.isfinite(found.speed)
        grid = np.where(there, found.speed, 0).astype(np.float32)
        grid, weight = _soft(grid), _soft(there.astype(np.float32))
        grid = (grid / np.maximum(weight, 1e-6)).astype(np.float32)
        top = float(np.quantile(grid[there], 0.99)) if there.any() else 1.0
        return grid, np.minimum(weight * 2, 1) * np.float32(0.8), top or 1.0
    grid = _soft((found.occupancy if what == "occupancy" else found.flow).astype(np.float32))
    top = float(np.quantile(grid[grid > 0], 0.99)) if (grid > 0).any() else 1.0
    return grid, np.minimum(np.sqrt(grid / top), 1) * np.float32(0.8), top


def _soft(grid: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(grid, (0, 0), 1.0, borderType=cv2.BORDER_REPLICATE), np.float32)


def _blend(picture: Picture, share: NDArray[np.float32], alpha: NDArray[np.float32], cell: float) -> Picture:
    """The grid in colours over the greyed picture; the last cells may reach over its edge."""
    height, width = picture.shape[:2]
    full = (round(share.shape[1] * cell), round(share.shape[0] * cell))
    share = _enlarged(share, full)[:height, :width]
    alpha = _enlarged(alpha, full)[:height, :width, None]
    colours = _colours(np.clip(share * 255, 0, 255).astype(np.uint8))
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32) * 0.75
    pad = ((0, max(0, height - share.shape[0])), (0, max(0, width - share.shape[1])), (0, 0))
    alpha, colours = np.pad(alpha, pad), np.pad(colours, pad)
    return np.ascontiguousarray(np.round(grey * (1 - alpha) + colours * alpha).astype(np.uint8))


def _enlarged(grid: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    return np.asarray(cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _colours(share: Picture) -> Picture:
    return np.asarray(cv2.cvtColor(cv2.applyColorMap(share, cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB), np.uint8)


def _draw_line(picture: Picture, name: str, ends: NDArray[np.float64]) -> None:
    """A counting line with its sides: A on the left of its direction, B on the right."""
    a, b = (tuple(int(v) for v in np.round(end)) for end in ends)
    cv2.line(picture, a, b, BLACK, 4, cv2.LINE_AA)
    cv2.line(picture, a, b, LINE, 2, cv2.LINE_AA)
    along = (ends[1] - ends[0]) / max(float(np.hypot(*(ends[1] - ends[0]))), 1e-9)
    right, middle = np.array([-along[1], along[0]]), ends.mean(0)
    _write(picture, "A", middle - 18 * right, LINE)
    _write(picture, "B", middle + 18 * right, LINE)
    _write(picture, name, ends[0] + 24 * along + 14 * right, LINE)


def _write(picture: Picture, text: str, at: NDArray[np.float64], colour: tuple[int, int, int]) -> None:
    """Text whose middle is at a point, moved into the picture."""
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
    x = int(np.clip(at[0] - width / 2, 2, max(picture.shape[1] - width - 2, 2)))
    y = int(np.clip(at[1] + height / 2, height + 2, picture.shape[0] - 4))
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, BLACK, 3, cv2.LINE_AA)
    cv2.putText(picture, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, colour, 1, cv2.LINE_AA)


def _with_legend(picture: Picture, title: str, top: float) -> Picture:
    """The picture above a strip with the colours, their values and the title."""
    strip = np.full((52, picture.shape[1], 3), 255, np.uint8)
    width = picture.shape[1] // 2
    strip[26:38, 12 : 12 + width] = _colours(np.linspace(0, 255, width).astype(np.uint8)[None])
    dark = (40, 40, 40)
    cv2.putText(strip, title, (12, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, dark, 1, cv2.LINE_AA)
    for share in (0.0, 0.5, 1.0):
        text = f"{share * top:.3g}" + ("+" if share == 1 else "")
        at = (12 + int(share * width) - (10 if share else 0), 50)
        cv2.putText(strip, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.4, dark, 1, cv2.LINE_AA)
    return np.concatenate([picture, strip])
