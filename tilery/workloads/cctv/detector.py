"""What every detector is to the rest: pictures of one size in, boxes with a label and a score out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.cctv import nms

Rgb = NDArray[np.uint8]
"""(height, width, 3)."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a detector found in one picture; rows of equal number n, by falling score."""

    label: NDArray[np.uint8]
    """Index into `labels.LABELS`."""
    score: NDArray[np.float32]
    box: NDArray[np.float32]
    """(n, 4): left, top, right, bottom in pixels of the picture that was given."""

    def __len__(self) -> int:
        return len(self.score)

    def take(self, places: NDArray[np.intp] | NDArray[np.bool_]) -> Found:
        return Found(self.label[places], self.score[places], self.box[places])

    def placed(self, left: float, top: float, across: float, down: float) -> Found:
        """In pixels of a picture of which this was a part that began at (left, top) and was shrunk by these factors."""
        factors, start = np.array([across, down] * 2, np.float32), np.array([left, top] * 2, np.float32)
        return Found(self.label, self.score, self.box * factors + start)

    @staticmethod
    def nothing() -> Found:
        return Found(np.zeros(0, np.uint8), np.zeros(0, np.float32), np.zeros((0, 4), np.float32))

    @staticmethod
    def joined(parts: list[Found]) -> Found:
        """All boxes of several, in the order of score."""
        if not parts:
            return Found.nothing()
        label, score, box = (np.concatenate([getattr(part, name) for part in parts]) for name in ("label", "score", "box"))
        return Found(label, score, box).take(nms.order(box, score))


class Detector(Protocol):
    """A detector. Results do not depend on which other pictures are in a call, nor on what was called before."""

    @property
    def name(self) -> str: ...

    @property
    def digest(self) -> str:
        """Names the weights and how they are used."""

    @property
    def provider(self) -> str:
        """What computes: an execution provider of ONNX Runtime."""

    @property
    def score(self) -> float:
        """From this score on a detection is confident; lower ones, down to `LEAST_SCORE`, only help to follow it."""

    @property
    def batch(self) -> int:
        """How many pictures at once are worth waiting for."""

    @property
    def any_size(self) -> bool:
        """Whether parts of such a picture may be given, too."""

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Width and height at which a picture of this width and height should be given."""

    def detect(self, pictures: list[Rgb]) -> list[Found]:
        """Pictures of the size that `size` gives, or parts of such, to what is in each."""
