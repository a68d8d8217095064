"""What others make of the same detections: trackers from PyPI (requirements.txt), as their manuals say to use them.

They run once for each looked-at frame; between two looks their boxes are interpolated here, as Tilery does by itself. They know
nothing of motion against the background, so what does not move is taken out of their detections first.
A track counts where its package reports it; nothing is added or smoothed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from benchmarks.cctv.hota import Table
from tilery.workloads.cctv.detections import Detections
from tilery.workloads.cctv.frames import Frames, Looked
from tilery.workloads.cctv.parked import GHOST


def bytetrack(frames: Frames, found: Detections, confident: float, hz: float) -> Table:
    """`trackers` (Roboflow): ByteTrackTracker."""
    import supervision
    import trackers

    tracker = trackers.ByteTrackTracker(frame_rate=hz, track_activation_threshold=confident, high_conf_det_threshold=confident)
    rows = []
    for frame, box, score in _looks(frames, found):
        seen = supervision.Detections(xyxy=box, confidence=score, class_id=np.zeros(len(box), int))
        told = tracker.update(seen)
        if told.tracker_id is not None:
            rows += [(frame, identity, *one) for one, identity in zip(told.xyxy, told.tracker_id, strict=True) if identity >= 0]
    return _bridged(rows)


def norfair(frames: Frames, found: Detections, confident: float, hz: float) -> Table:
    """`norfair` with IoU distance on corner points, confident detections only (it has no second stage)."""
    import norfair as package

    tracker = package.Tracker(distance_function="iou", distance_threshold=0.7, hit_counter_max=round(1.0 * hz))
    rows = []
    for frame, box, score in _looks(frames, found):
        seen = [package.Detection(points=one.reshape(2, 2).astype(float)) for one in box[score >= confident]]
        rows += [(frame, one.id, *one.estimate.ravel()) for one in tracker.update(detections=seen) if one.live_points.any()]
    return _bridged(rows)


PEERS: dict[str, Callable[[Frames, Detections, float, float], Table]] = {
    "trackers ByteTrack": bytetrack,
    "norfair": norfair,
}


def _looks(frames: Frames, found: Detections) -> Iterator[tuple[int, NDArray[np.float32], NDArray[np.float32]]]:
    for frame in np.flatnonzero(frames.looked == Looked.DETECTED):
        rows = (found.time_us == frames.time_us[frame]) & ~(found.moving < GHOST)
        yield int(frame), found.box[rows], found.score[rows]


def _bridged(rows: list[tuple[float, ...]]) -> Table:
    """Rows (frame, id, box) with the frames between two rows of an id that are at most 15 apart filled in."""
    table = np.array(rows, np.float64).reshape(-1, 6)
    parts = []
    for identity in np.unique(table[:, 1]):
        own = table[table[:, 1] == identity]
        own = own[np.argsort(own[:, 0])]
        wanted = np.arange(own[0, 0], own[-1, 0] + 1)
        at = np.searchsorted(own[:, 0], wanted, "right") - 1
        near = (own[np.minimum(at + 1, len(own) - 1), 0] - own[at, 0] <= 15) | (own[at, 0] == wanted)
        box = np.stack([np.interp(wanted, own[:, 0], own[:, side]) for side in range(2, 6)], axis=1)
        parts.append(np.column_stack([wanted, np.full(len(wanted), identity), box])[near])
    whole = np.concatenate(parts) if parts else table
    return whole[:, 0].astype(np.int64), whole[:, 1].astype(np.int64), whole[:, 2:]
