"""What a detector saw, independent of the detector: boxes with a class, a score and the time of their frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Detections:
    """Boxes, ordered by time, then falling score, then box; columns of equal length n."""

    time_us: NDArray[np.int64]
    """Time of the frame: one of `Frames.time_us` that is `DETECTED` or `STILL`."""
    label: NDArray[np.uint8]
    """Index into `labels.LABELS`."""
    score: NDArray[np.float32]
    box: NDArray[np.float32]
    """(n, 4): left, top, right, bottom in pixels of the upright frame, clipped to it; continuous, 0 is the left edge."""
    moving: NDArray[np.float32]
    """Share of the box that moved against the background, 0 to 1; NaN where no motion was measured."""

    def __len__(self) -> int:
        return len(self.time_us)
