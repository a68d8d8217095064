"""Brightness of a scene of little contrast, spread out: fog, infrared lamps and dusk leave a camera few of its 256 levels.

What counts as motion and what detectors learned from are pictures that use most of them. Pictures with enough contrast stay as
they are, to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = NDArray[np.uint8]
SPREAD = 120
"""Grey levels between the darkest and the brightest twentieth of a picture, at least; in daylight they are about 160."""
TWENTIETH = 5.0, 95.0
MOST = 4.0
"""Noise is spread out as well: no more than this."""
MIDDLE = 128
BLANK = 8
"""Grey levels below which there is nothing to be seen, as where a recording begins in black: it says nothing about the rest."""


@dataclass(frozen=True, eq=False)
class Levels:
    """One for all pictures that are compared with one another."""

    table: NDArray[np.uint8] | None
    """What each level becomes; None leaves all as they are."""

    @staticmethod
    def of(picture: Rgb) -> Levels:
        """Those that give this picture enough contrast."""
        low, high = np.percentile(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), TWENTIETH)
        if not BLANK <= high - low < SPREAD:
            return Levels(None)
        gain = min(MOST, SPREAD / float(high - low))
        spread = (np.arange(256) - (low + high) / 2) * gain + MIDDLE
        return Levels(np.clip(np.round(spread), 0, 255).astype(np.uint8))

    def __call__(self, picture: Rgb) -> Rgb:
        return picture if self.table is None else np.asarray(cv2.LUT(picture, self.table), np.uint8)
