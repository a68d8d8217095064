"""The picture that everything is drawn on: the median of the whole timeline, with people and plates hidden where asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from tilery.workload import Work
from tilery.workloads.cctv import blur, tables
from tilery.workloads.cctv.detections import Detections
from tilery.workloads.cctv.frames import Frames, Looked
from tilery.workloads.cctv.joined import Joined
from tilery.workloads.cctv.median import median, median_of_moved
from tilery.workloads.cctv.options import CctvOptions
from tilery.workloads.cctv.stabilise import apply

Rgb = NDArray[np.uint8]


@dataclass(frozen=True)
class Backdrop:
    """Pictures from all along the timeline, and their median."""

    samples: Sequence[tuple[int, Rgb]]
    """Time (us) and picture; nothing is hidden in these yet."""
    picture: Rgb
    """What the reference frame shows when nothing moves; what was asked to be hidden is."""
    scale: float
    """Of a pixel of the frame, in pixels of the picture."""


def backdrop(work: Work[CctvOptions], parts: Sequence[str], joined: Joined, size: tuple[int, int]) -> Backdrop:
    """From the samples that the segments left. Gray where there is not a single whole frame."""
    samples = [one for part in parts for one in tables.decode_pictures(work.store.get(work.key("process", "background", part)))]
    if not samples:
        return Backdrop([], np.full((size[1], size[0], 3), 128, np.uint8), 1.0)
    height, width = samples[0][1].shape[:2]
    scale = width / size[0]
    to_small = np.diag([scale, height / size[1], 1.0])
    if work.options.view == "drone":
        frames = joined.frames
        at = np.searchsorted(frames.time_us, [time for time, _ in samples])
        matrices = [to_small @ matrix @ np.linalg.inv(to_small) for matrix in frames.to_reference[at]]
        picture = median_of_moved([picture for _, picture in samples], matrices)
    else:
        picture = median([picture for _, picture in samples])
    if work.options.blur:
        looked = int(np.isin(joined.frames.looked, (Looked.DETECTED, Looked.STILL)).sum())
        sure = joined.detections.score >= joined.confident
        boxes = in_reference(joined.frames, joined.detections)[sure] * np.float32(scale)
        where = blur.standing(boxes, joined.detections.label[sure], looked, work.options.blur, width, height)
        picture = blur.hide_where(picture, where)
    return Backdrop(samples, picture, scale)


def enlarged(behind: Backdrop, width: int) -> Backdrop:
    """The same at a multiple of its size that is at least so wide."""
    times = -(-width // behind.picture.shape[1])
    if times == 1:
        return behind

    def large(picture: Rgb) -> Rgb:
        return np.asarray(cv2.resize(picture, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC), np.uint8)

    samples = [(time_us, large(picture)) for time_us, picture in behind.samples]
    return Backdrop(samples, large(behind.picture), behind.scale * times)


def in_reference(frames: Frames, found: Detections) -> NDArray[np.float32]:
    """The boxes (n, 4) around where they lie in the reference frame."""
    left, top, right, bottom = found.box.astype(np.float64).T
    at = np.searchsorted(frames.time_us, found.time_us)
    times, first = np.unique(at, return_index=True)
    result = np.empty_like(found.box)
    for frame, rows in zip(times, np.split(np.arange(len(found)), first[1:]), strict=False):
        matrix = frames.to_reference[frame]
        if np.array_equal(matrix, np.eye(3)):
            result[rows] = found.box[rows]
            continue
        corners = [np.stack([x[rows], y[rows]], axis=1) for x in (left, right) for y in (top, bottom)]
        moved = np.stack([apply(matrix, corner) for corner in corners])
        result[rows] = np.concatenate([moved.min(axis=0), moved.max(axis=0)], axis=1)
    return result
