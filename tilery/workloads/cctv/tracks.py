"""Tracks: where each road user was, frame by frame. The one table that counts, speeds and maps are made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.cctv.frames import Frames


class State(IntEnum):
    """How a row is known."""

    SEEN = 0
    """A detection belongs to it."""
    BRIDGED = 1
    """Between two detections of the track: interpolated."""


@dataclass(frozen=True, slots=True)
class Tracks:
    """Boxes of tracks, ordered by time, then id; columns of equal length n. A track's rows have no gaps in the frames given."""

    time_us: NDArray[np.int64]
    frame: NDArray[np.int64]
    """Index of the frame in the `Frames` of the whole timeline."""
    id: NDArray[np.int32]
    """1, 2, ... in the order of the tracks' first appearance."""
    label: NDArray[np.uint8]
    """Index into `labels.LABELS`; the same in all rows of a track: its detections voted, weighted by score."""
    score: NDArray[np.float32]
    """Of the detection; of a bridged row 0."""
    box: NDArray[np.float32]
    """(n, 4): left, top, right, bottom, smoothed, in pixels of the upright frame; may reach over its edges."""
    state: NDArray[np.uint8]
    """`State`."""
    foot: NDArray[np.float64]
    """(n, 2): x and y of the box's bottom centre in pixels of the reference frame (the frame itself for a fixed camera)."""
    velocity: NDArray[np.float64]
    """(n, 2): of the foot, in pixels of the reference frame a second."""
    jitter: NDArray[np.float32]
    """How far the track's detections scatter about the smoothed foot (pixels, one standard deviation, one value a track)."""

    def __len__(self) -> int:
        return len(self.time_us)

    def only(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> Tracks:
        """The chosen rows."""
        return Tracks(*(getattr(self, column.name)[rows] for column in fields(self)))

    def by_track(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        """Each id, in ascending order, with its rows in the order of time."""
        order = np.argsort(self.id, kind="stable")
        ids, starts = np.unique(self.id[order], return_index=True)
        for identity, rows in zip(ids, np.split(order, starts[1:]), strict=False):
            yield int(identity), rows


def empty() -> Tracks:
    """No tracks."""
    pairs, none = np.zeros((0, 2)), np.zeros(0, np.int64)
    return Tracks(
        time_us=none, frame=none, id=none.astype(np.int32), label=none.astype(np.uint8), score=none.astype(np.float32),
        box=np.zeros((0, 4), np.float32), state=none.astype(np.uint8), foot=pairs, velocity=pairs,
        jitter=none.astype(np.float32),
    )  # fmt: skip


def numbered(tracks: Tracks) -> Tracks:
    """The same tracks with ids 1, 2, ... in the order of their first appearance (and of the old ids at equal times)."""
    old, first, index = np.unique(tracks.id, return_index=True, return_inverse=True)
    rank = np.empty(len(old), np.int32)
    rank[np.lexsort((old, tracks.frame[first]))] = np.arange(1, len(old) + 1, dtype=np.int32)
    result = replace(tracks, id=rank[index])
    return result.only(np.lexsort((result.id, result.frame)))


def dense(tracks: Tracks, frames: Frames, start: int = 0, stop: int | None = None) -> Tracks:
    """The tracks in every frame `start <= frame < stop`, skipped and damaged ones too.

    Between two rows the foot follows the cubic that has their places and velocities, which is the expectation under a
    constant velocity with white accelerations; the box goes with its foot, and its size changes evenly.
    A drone's boxes are interpolated in pixels of the frames themselves, which is right for the short time between two looks.
    """
    stop = len(frames) if stop is None else min(stop, len(frames))
    first: list[NDArray[np.int64]] = []
    knot: list[NDArray[np.int64]] = []
    for _, rows in tracks.by_track():
        a, b = max(start, int(tracks.frame[rows[0]])), min(stop - 1, int(tracks.frame[rows[-1]]))
        if a > b:
            continue
        wanted = np.arange(a, b + 1)
        first.append(wanted)
        knot.append(
            rows[np.stack([at := np.searchsorted(tracks.frame[rows], wanted, "right") - 1, np.minimum(at + 1, len(rows) - 1)])]
        )
    if not first:
        return empty()
    frame, (left, right) = np.concatenate(first), np.concatenate(knot, axis=1)
    order = np.lexsort((tracks.id[left], frame))
    frame, left, right = frame[order], left[order], right[order]
    time_us = frames.time_us[frame]
    foot, velocity, share = hermite(tracks, left, right, time_us)
    box = tracks.box[left] + share[:, None] * (tracks.box[right] - tracks.box[left])
    bent = foot - (tracks.foot[left] + share[:, None] * (tracks.foot[right] - tracks.foot[left]))
    exact = frame == tracks.frame[left]
    result = tracks.only(left)
    return replace(
        result,
        time_us=time_us,
        frame=frame,
        score=np.where(exact, result.score, np.float32(0)),
        state=np.where(exact, result.state, State.BRIDGED).astype(np.uint8),
        box=np.where(exact[:, None], result.box, box + np.tile(bent, 2)).astype(np.float32),
        foot=np.where(exact[:, None], result.foot, foot),
        velocity=np.where(exact[:, None], result.velocity, velocity),
    )


def hermite(
    tracks: Tracks, left: NDArray[np.int64], right: NDArray[np.int64], time_us: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Foot, velocity and share of the way in time, between rows `left` and `right`, at times between theirs."""
    span = (tracks.time_us[right] - tracks.time_us[left])[:, None] * 1e-6
    h = np.where(span > 0, span, 1.0)
    u = (time_us - tracks.time_us[left])[:, None] * 1e-6 / h
    return cubic(tracks.foot[left], tracks.velocity[left], tracks.foot[right], tracks.velocity[right], u, h)


def cubic(
    p0: NDArray[np.float64],
    v0: NDArray[np.float64],
    p1: NDArray[np.float64],
    v1: NDArray[np.float64],
    u: NDArray[np.float64],
    h: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Place and velocity on the cubic Hermite curve at share u of the time h (s), and u itself without its last axis."""
    step = p1 - p0
    place = p0 + u * (h * v0 + u * (3 * step - h * (2 * v0 + v1) + u * (h * (v0 + v1) - 2 * step)))
    speed = v0 + u * ((6 * step / h - 2 * (2 * v0 + v1)) + u * (3 * (v0 + v1) - 6 * step / h))
    return place, speed, u[:, 0]
