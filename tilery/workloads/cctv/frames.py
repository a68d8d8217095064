"""The frames of a stretch of video: when each was taken and what became of it. Stretches in order join by concatenation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Looked(IntEnum):
    """What was done with a frame."""

    SKIPPED = 0
    """Between two frames that are looked at."""
    DETECTED = 1
    STILL = 2
    """Due, but nothing had changed since the last frame that went through the detector: its boxes stand for this one too."""
    DAMAGED = 3
    """Could not be decoded; it keeps its place on the timeline."""
    MISSING = 4
    """Of a segment that could not be done: a place on the timeline, so that the frames after it keep their numbers."""


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames in the order of time; columns of equal length n."""

    time_us: NDArray[np.int64]
    """Microseconds from the start of the camera's timeline, strictly ascending."""
    looked: NDArray[np.uint8]
    """`Looked`."""
    to_reference: NDArray[np.float64]
    """(n, 3, 3) homography of the frame's pixels to those of the reference frame; the identity for a fixed camera."""

    def __len__(self) -> int:
        return len(self.time_us)
