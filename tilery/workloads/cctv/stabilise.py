"""A drone's frames laid over one reference frame. Every frame is registered to the reference directly: errors never add up.

Corners are matched (ORB, Rublee et al. 2011) and a homography fitted that most of them obey (RANSAC), so that what moves on
the ground does not count; then corners of the reference are followed into the frame by optical flow (Lucas and Kanade 1981),
which finds them to a fraction of a pixel, and the homography is fitted again. The same two pictures give the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

LONGEST = 960
"""Pictures are registered at this many pixels along their longer side, at most."""
CORNERS = 2_000
LEAST_MATCHES = 25
"""Fewer corners that agree are chance: such a frame is not registered."""
RANSAC_PX = 2.0
REFINED_PX = 1.0
LARGEST_SCALE = 4.0
"""A frame that would be this much larger or smaller than the reference, or mirrored, was matched by chance."""

Gray = NDArray[np.uint8]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Registered:
    """How a frame lies on the reference."""

    matrix: Matrix
    """(3, 3) homography of the frame's pixels to those of the reference, both upright and at full size."""
    error_px: float
    """Median distance of the corners that agree, full-size pixels: what is left of the camera's movement."""


def size(width: int, height: int) -> tuple[int, int]:
    """The width and height at which frames of this size are registered."""
    share = min(1.0, LONGEST / max(width, height))
    return max(1, round(width * share)), max(1, round(height * share))


class Stabiliser:
    """Registers frames to one reference frame.

    `reference` is the gray picture of the reference frame at `size(width, height)`, as are the frames given later;
    `width` and `height` are those of the upright frame, in whose pixels the matrices are.
    """

    def __init__(self, reference: Gray, width: int, height: int) -> None:
        rows, columns = reference.shape
        self._scale = np.diag([columns / width, rows / height, 1.0])
        self._full_px = width / columns
        self._reference = np.ascontiguousarray(reference)
        self._orb = cv2.ORB.create(nfeatures=CORNERS, fastThreshold=7)
        self._matcher = cv2.BFMatcher(cv2.NORM_HAMMING)
        self._points, self._descriptors = self._features(self._reference)
        found = cv2.goodFeaturesToTrack(self._reference, CORNERS // 2, 0.01, 8)
        self._corners = np.empty((0, 1, 2), np.float32) if found is None else np.asarray(found, np.float32)

    def to_reference(self, frame: Gray) -> Registered | None:
        """How a frame lies on the reference; None where too little of it is to be seen there."""
        if frame.shape != self._reference.shape:
            raise ValueError(f"a frame of {frame.shape} cannot be laid over a reference of {self._reference.shape}")
        rough = self._matched(np.ascontiguousarray(frame))
        if rough is None:
            return None
        fine, error = self._followed(np.ascontiguousarray(frame), rough)
        full = np.linalg.inv(self._scale) @ fine @ self._scale
        return Registered(full / full[2, 2], error * self._full_px)

    def _features(self, picture: Gray) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        points, descriptors = self._orb.detectAndCompute(picture, None)
        if descriptors is None or not points:
            return np.empty((0, 2), np.float32), np.empty((0, 32), np.uint8)
        return np.array([point.pt for point in points], np.float32), np.asarray(descriptors, np.uint8)

    def _matched(self, frame: Gray) -> Matrix | None:
        points, descriptors = self._features(frame)
        if len(points) < LEAST_MATCHES or len(self._points) < LEAST_MATCHES:
            return None
        pairs = [
            best
            for best, second in (pair for pair in self._matcher.knnMatch(descriptors, self._descriptors, 2) if len(pair) == 2)
            if best.distance < 0.8 * second.distance
        ]
        if len(pairs) < LEAST_MATCHES:
            return None
        here = points[[pair.queryIdx for pair in pairs]]
        there = self._points[[pair.trainIdx for pair in pairs]]
        matrix, agrees = _fit(here, there, RANSAC_PX)
        return matrix if matrix is not None and agrees.sum() >= LEAST_MATCHES and self._plausible(matrix) else None

    def _followed(self, frame: Gray, rough: Matrix) -> tuple[Matrix, float]:
        """The homography fitted again to corners of the reference that are found in the frame, and what is left over."""
        rows, columns = self._reference.shape
        laid = cv2.warpPerspective(frame, rough, (columns, rows))
        if len(self._corners) < LEAST_MATCHES:
            return rough, RANSAC_PX
        ends, found, _ = cv2.calcOpticalFlowPyrLK(self._reference, laid, self._corners, None, winSize=(15, 15), maxLevel=1)  # type: ignore[call-overload]
        moved = np.linalg.norm(ends - self._corners, axis=2)[:, 0]
        seen = (found[:, 0] == 1) & (moved < 3 * RANSAC_PX) & self._inside(rough)
        if seen.sum() < LEAST_MATCHES:
            return rough, RANSAC_PX
        start, end = ends[seen, 0], self._corners[seen, 0]
        change, agrees = _fit(start, end, REFINED_PX)
        if change is None or agrees.sum() < LEAST_MATCHES:
            return rough, RANSAC_PX
        left = np.linalg.norm(apply(change, start[agrees]) - end[agrees], axis=1)
        return change @ rough, float(np.median(left))

    def _inside(self, rough: Matrix) -> NDArray[np.bool_]:
        """Which corners of the reference the frame shows, with room for the window of the optical flow."""
        rows, columns = self._reference.shape
        back = apply(np.linalg.inv(rough), self._corners[:, 0])
        inside = (back >= 12).all(axis=1) & (back < np.array([columns - 12, rows - 12])).all(axis=1)
        return np.asarray(inside, np.bool_)

    def _plausible(self, matrix: Matrix) -> bool:
        rows, columns = self._reference.shape
        corners = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float64)
        behind = np.column_stack([corners, np.ones(4)]) @ matrix[2] <= 0
        if behind.any():
            return False
        x, y = apply(matrix, corners).T
        area = 0.5 * float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))
        scale = area / (rows * columns)
        return bool(LARGEST_SCALE**-2 < scale < LARGEST_SCALE**2)


def apply(matrix: NDArray[Any], points: NDArray[Any]) -> NDArray[np.float64]:
    """Points (n, 2) under a homography."""
    ends = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return np.asarray(ends[:, :2] / ends[:, 2:], np.float64)


def fill_gaps(time_us: NDArray[np.int64], matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Matrices (n, 3, 3) in which frames that were not registered (NaN) lie between their neighbours, linear in time.

    Before the first and after the last registered frame its matrix stands; the identity where none was registered.
    """
    known = np.isfinite(matrices).all(axis=(1, 2))
    if known.all():
        return matrices
    if not known.any():
        return np.broadcast_to(np.eye(3), matrices.shape).copy()
    flat = matrices.reshape(len(matrices), 9)
    filled = [np.interp(time_us, time_us[known], flat[known, column]) for column in range(9)]
    result = np.stack(filled, axis=1).reshape(matrices.shape)
    result[known] = matrices[known]
    return result


def furthest(matrices: NDArray[np.float64], width: int, height: int) -> float:
    """How far (pixels) the middle of the picture strays from where it is in the reference."""
    if not len(matrices):
        return 0.0
    ends = matrices @ np.array([width / 2, height / 2, 1.0])
    places = ends[:, :2] / ends[:, 2:]
    return float(np.linalg.norm(places - [width / 2, height / 2], axis=1).max())


def _fit(here: NDArray[Any], there: NDArray[Any], within_px: float) -> tuple[Matrix | None, NDArray[np.bool_]]:
    """The homography that most pairs obey. OpenCV's RANSAC starts from a fixed seed each time."""
    matrix, agrees = cv2.findHomography(here, there, cv2.RANSAC, within_px, maxIters=4000, confidence=0.9999)
    if matrix is None or not np.isfinite(matrix).all():
        return None, np.zeros(len(here), np.bool_)
    return np.asarray(matrix, np.float64), np.asarray(agrees[:, 0] == 1, np.bool_)
