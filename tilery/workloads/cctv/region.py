"""The part of a frame in which something changed since the look before: the detector looks there alone, and what it found
elsewhere stands.

A camera sees a whole square, and two people cross it. What stands still stays found; every two seconds the whole frame is
looked at, so that nothing is missed that changed too little for a tile.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.cctv import nms
from tilery.workloads.cctv.detector import Found
from tilery.workloads.cctv.motion import shares
from tilery.workloads.cctv.slices import Window, uncut
from tilery.workloads.cctv.still import TILE

LARGE = 1024
"""Longest side of a frame from which on that is done. Smaller ones are cheap to look at beside what they lose: tracks on PETS
at its own size fall from MOTA 0.862 to 0.854 (on 8 bits, as in large frames, they rise from 0.853 to 0.861)."""
WHOLE_US = 2_000_000
"""In each such stretch the first look is at the whole frame."""
STEP = 32
"""Pixels of the small picture at which a region begins and ends: those of a network's coarsest map."""
CONTEXT = 32
"""Pixels around what changed, at least: a detector knows things by what is around them."""
MOST = 0.8
"""A larger share of the frame than this is looked at as a whole."""
ALIKE = 0.5
"""Boxes that overlap more (IoU) are of one thing."""

Tiles = NDArray[np.bool_]
"""(rows, columns): which changed (`still.changed`)."""


def around(tiles: Tiles, width: int, height: int) -> Window | None:
    """What is to be looked at of a small picture of this size, in its pixels; None for the whole."""
    down, across = (np.flatnonzero(tiles.any(axis)) for axis in (1, 0))
    (left, right), (top, bottom) = (_stretch(places, side) for places, side in ((across, width), (down, height)))
    window = Window(left, top, right - left, bottom - top)
    return window if window.width * window.height <= MOST * width * height else None


def _stretch(tiles: NDArray[np.intp], side: int) -> tuple[int, int]:
    first, last = int(tiles[0]) * TILE - CONTEXT, (int(tiles[-1]) + 1) * TILE + CONTEXT
    return max(0, first // STEP * STEP), min(side, -(-last // STEP) * STEP)


def renewed(before: Found, now: Found, tiles: Tiles, window: Window, width: int, height: int) -> Found:
    """What is in a small picture of this size: `before` where nothing changed, `now`, found in the window, where something did.

    A thing that reaches out of the window stays as it was, unless it was seen anew.
    """
    now = uncut(now, window, width, height)
    now = now.take(_touched(now, tiles))
    old = before.take(~_touched(before, tiles) | ~_inside(before, window))
    again = np.asarray((nms.overlaps(old.box, now.box) > ALIKE).any(1), np.bool_)
    return Found.joined([old.take(~again), now])


def _touched(found: Found, tiles: Tiles) -> NDArray[np.bool_]:
    return np.asarray(shares(tiles.astype(np.uint8), found.box / np.float32(TILE)) > 0, np.bool_)


def _inside(found: Found, window: Window) -> NDArray[np.bool_]:
    left, top, right, bottom = found.box.T
    across = (left >= window.left) & (right <= window.left + window.width)
    return np.asarray(across & (top >= window.top) & (bottom <= window.top + window.height), np.bool_)
