"""Boxes, lines and names drawn on pictures (uint8 RGB), in place. Coordinates are the picture's own pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from tilery.workloads.cctv.labels import LABELS

PALETTE = (
    (76, 201, 240), (255, 183, 3), (128, 237, 153), (255, 93, 143), (199, 125, 255), (255, 209, 102), (72, 149, 239),
    (239, 71, 111),
)  # fmt: skip
LINE, ZONE, INK, PAPER = (255, 214, 10), (76, 201, 240), (255, 255, 255), (20, 24, 30)

Rgb = NDArray[np.uint8]
Colour = tuple[int, int, int]


def colour_of(identity: int) -> Colour:
    """Of a track; the same in all pictures."""
    return PALETTE[identity % len(PALETTE)]


def boxes(canvas: Rgb, corners: NDArray[Any], labels: Sequence[int], names: Sequence[str], colours: Sequence[Colour]) -> None:
    """Boxes (n, 4) with what they are."""
    for box, label, name, colour in zip(corners, labels, names, colours, strict=True):
        left, top, right, bottom = (round(float(value)) for value in box)
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, 2, cv2.LINE_AA)
        text(canvas, f"{name} {LABELS[label]}".strip(), (left, top - 4), colour)


def shapes(canvas: Rgb, found: Mapping[str, NDArray[np.float64]], colour: Colour, *, closed: bool) -> None:
    """Lines or areas (n, 2) with their names."""
    for name, points in found.items():
        path(canvas, points, colour, closed=closed)
        text(canvas, name, (round(float(points[0, 0])) + 4, round(float(points[0, 1])) - 6), colour)


def path(canvas: Rgb, points: NDArray[np.float64], colour: Colour, *, closed: bool = False, thickness: int = 2) -> None:
    whole = np.round(points).astype(np.int32).reshape(-1, 1, 2)
    cv2.polylines(canvas, [whole], closed, colour, thickness, cv2.LINE_AA)


def text(canvas: Rgb, said: str, at: tuple[int, int], colour: Colour) -> None:
    """A text on a dark ground, inside the picture."""
    x, y = max(0, at[0]), max(12, at[1])
    (width, height), below = cv2.getTextSize(said, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    cv2.rectangle(canvas, (x, y - height - 3), (x + width + 2, y + below), PAPER, -1)
    cv2.putText(canvas, said, (x + 1, y), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)


def png(picture: Rgb) -> bytes:
    """The same picture gives the same bytes."""
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 6])
    assert done
    return data.tobytes()
