"""What the tracker reads: the frames that were looked at, and their detections in pixels of the reference frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.cctv.detections import Detections
from tilery.workloads.cctv.frames import Frames, Looked

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Looks:
    """Looked-at frames, and rows of detections ordered by frame, falling score, box."""

    frame: NDArray[np.int64]
    """(looks,) index into `Frames`, ascending."""
    time_us: NDArray[np.int64]
    """(looks,)"""
    first: NDArray[np.int64]
    """(looks + 1,) first row of each look."""
    look: NDArray[np.int64]
    """(rows,) index of the row's look."""
    label: NDArray[np.uint8]
    score: NDArray[np.float64]
    moving: NDArray[np.float64]
    box: NDArray[np.float64]
    """(rows, 4) centre x, centre y, width, height in pixels of the reference frame."""


def gather(frames: Frames, detections: Detections, least: float) -> Looks:
    """The detections of at least this score, by looked-at frame. A still frame without rows has those of the look before."""
    rows = np.flatnonzero(detections.score >= np.float32(least))
    box = detections.box[rows].astype(np.float64)
    keys = (*box.T, detections.moving[rows], detections.label[rows], -detections.score[rows], detections.time_us[rows])
    rows = rows[np.lexsort(keys)]
    frame = seen(frames)
    time_us = frames.time_us[frame]
    left = np.searchsorted(detections.time_us[rows], time_us, "left")
    right = np.searchsorted(detections.time_us[rows], time_us, "right")
    own = (right > left) | (frames.looked[frame] != Looked.STILL)
    source = np.maximum.accumulate(np.where(own, np.arange(len(frame)), 0))
    left, count = left[source], (right - left)[source]
    first = np.concatenate([[0], np.cumsum(count)])
    look = np.repeat(np.arange(len(frame)), count)
    rows = rows[np.arange(first[-1]) - first[look] + left[look]]
    return Looks(
        frame=frame,
        time_us=time_us,
        first=first,
        look=look,
        label=detections.label[rows],
        score=detections.score[rows].astype(np.float64),
        moving=detections.moving[rows].astype(np.float64),
        box=to_reference(detections.box[rows].astype(np.float64), frames.to_reference[frame[look]]),
    )


def seen(frames: Frames) -> NDArray[np.int64]:
    """The frames that were looked at and whose place in the reference frame is known: a drone's may not be."""
    looked = (frames.looked == Looked.DETECTED) | (frames.looked == Looked.STILL)
    return np.flatnonzero(looked & np.isfinite(frames.to_reference).all((1, 2)))


def to_reference(corners: NDArray[np.float64], homography: NDArray[np.float64]) -> NDArray[np.float64]:
    """Boxes (n, 4: left, top, right, bottom) of frames as centre x, centre y, width, height in the reference frame.

    The centre is mapped; width and height grow by the local scale, so that a turned camera does not blow the boxes up.
    """
    centre, scale = mapped(corners[:, :2] + 0.5 * (corners[:, 2:] - corners[:, :2]), homography)
    return np.concatenate([centre, (corners[:, 2:] - corners[:, :2]) * scale[:, None]], axis=1)


def from_reference(boxes: NDArray[np.float64], homography: NDArray[np.float64]) -> NDArray[np.float64]:
    """The inverse of `to_reference`."""
    centre, scale = mapped(boxes[:, :2], np.linalg.inv(homography))
    half = boxes[:, 2:] * scale[:, None] / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def mapped(points: Array, homography: NDArray[Any]) -> tuple[Array, Array]:
    """Points (n, 2) under homographies (n, 3, 3), and by how much lengths grow there (the root of the area's growth)."""
    x, y = points[:, 0], points[:, 1]
    h = homography
    w = h[:, 2, 0] * x + h[:, 2, 1] * y + h[:, 2, 2]
    u = (h[:, 0, 0] * x + h[:, 0, 1] * y + h[:, 0, 2]) / w
    v = (h[:, 1, 0] * x + h[:, 1, 1] * y + h[:, 1, 2]) / w
    area = np.abs(
        (h[:, 0, 0] - u * h[:, 2, 0]) * (h[:, 1, 1] - v * h[:, 2, 1])
        - (h[:, 0, 1] - u * h[:, 2, 1]) * (h[:, 1, 0] - v * h[:, 2, 0])
    )
    return np.stack([u, v], axis=1), np.sqrt(area) / np.abs(w)


def stretches(frames: Frames, looks: Looks, gap_us: int, missing: Sequence[tuple[int, int]]) -> Iterator[range]:
    """Runs of looks that a track may span: ended by missing spans and by more than `gap_us` without frames.

    A camera that takes a picture now and then has no gap between any two: three usual intervals make one.
    """
    if not len(looks.frame):
        return
    interval = np.diff(frames.time_us)
    gap = max(gap_us, 3 * int(np.median(interval))) if len(interval) else gap_us
    ends = frames.time_us[1:][interval > gap]
    cuts = np.unique(np.concatenate([ends, [start for start, _ in missing], [stop for _, stop in missing]]).astype(np.int64))
    bounds = np.unique(np.concatenate([[0], np.searchsorted(looks.time_us, cuts, "left"), [len(looks.time_us)]]))
    for start, stop in pairwise(bounds):
        yield range(int(start), int(stop))
