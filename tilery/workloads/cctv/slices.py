"""Parts of a large frame that are looked at on their own, at native scale, so that small things are not lost.

Neighbours overlap, so that a thing smaller than the overlap is whole in one of them; what a cut goes through is left to the
neighbour, or to the look at the whole frame (slicing aided hyper inference, Akyon et al. 2022).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilery.workloads.cctv import nms
from tilery.workloads.cctv.detector import Found, Rgb

OVERLAP = 0.2
"""Of neighbours, as a share of a slice, at least."""
EDGE = 2.0
"""A box that ends this near (pixels) to a cut is cut."""
SAME = 0.6
"""Of two boxes that overlap by more (IoU), or one of which lies in the other by more, the better one stays."""


@dataclass(frozen=True, slots=True)
class Window:
    """A part of a frame, in its pixels."""

    left: int
    top: int
    width: int
    height: int

    def of(self, picture: Rgb) -> Rgb:
        return picture[self.top : self.top + self.height, self.left : self.left + self.width]


def windows(width: int, height: int, across: int, down: int) -> list[Window]:
    """Slices of `across` x `down` pixels (or the frame, where that is less) that cover the frame."""
    across, down = min(across, width), min(down, height)
    return [Window(left, top, across, down) for top in _starts(height, down) for left in _starts(width, across)]


def _starts(length: int, part: int) -> list[int]:
    """Where parts begin: evenly, the first at 0, the last at the end."""
    count = 1 if part >= length else 1 + int(np.ceil((length - part) / (part * (1 - OVERLAP))))
    return [round(place * (length - part) / max(1, count - 1)) for place in range(count)]


def uncut(found: Found, window: Window, width: int, height: int) -> Found:
    """The boxes (pixels of the frame) that no edge of the window goes through, but for edges of the frame."""
    box = found.box
    whole = (box[:, 0] > window.left + EDGE) | (window.left == 0)
    whole &= (box[:, 1] > window.top + EDGE) | (window.top == 0)
    whole &= (box[:, 2] < window.left + window.width - EDGE) | (window.left + window.width == width)
    whole &= (box[:, 3] < window.top + window.height - EDGE) | (window.top + window.height == height)
    return found.take(whole)


def joined(parts: list[Found]) -> Found:
    """What several windows found, each thing once."""
    every = Found.joined(parts)
    every = every.take(nms.suppress(every.box, every.score, SAME))
    smaller = np.minimum(nms.areas(every.box)[:, None], nms.areas(every.box)[None, :])
    inside = nms.intersections(every.box, every.box) > SAME * smaller
    alike = every.label[:, None] == every.label[None, :]
    # a part of a thing scores less than the whole of it
    worse = np.tril(inside & alike, -1).any(axis=1)
    return every.take(~worse)
