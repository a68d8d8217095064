"""What can be done once all tracklets are known: join them over occlusions, weed them, smooth them, bridge their gaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tilery.workloads.cctv import kalman
from tilery.workloads.cctv.association import KIND, NEVER, assign
from tilery.workloads.cctv.frames import Frames
from tilery.workloads.cctv.kalman import Array, Motion
from tilery.workloads.cctv.looks import Looks, from_reference, mapped
from tilery.workloads.cctv.tracks import State, Tracks, cubic, empty

Whole = NDArray[np.int64]

BRIDGE_S = 1.5
"""The longest occlusion that tracklets are joined over."""
BRIDGE_GATE = 26.1
"""Largest squared distance of two tracklets: 99.9 % of the chi-squared distribution of 8 degrees of freedom."""
LEAST_S = 0.4
"""What is seen for less time is not confirmed."""
LEAST_SEEN = 3
"""What is seen fewer times is not confirmed."""


@dataclass(frozen=True, slots=True)
class Chains:
    """Detections grouped by track, in order of time within each; tracks in order of their first detection."""

    rows: Whole
    """Rows of `Looks`."""
    starts: Whole
    """(tracks + 1,) first of each track in `rows`."""

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def track(self) -> Whole:
        """The track of each of `rows`."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def only(self, tracks: NDArray[np.bool_]) -> Chains:
        """The chosen tracks."""
        return _chains(self.rows[tracks[self.track]], np.diff(self.starts)[tracks])

    def first_rows(self, counts: Whole) -> Chains:
        """Only so many of each track."""
        return _chains(self.rows[np.arange(len(self.rows)) < (self.starts[:-1] + counts)[self.track]], counts)


def _chains(rows: Whole, lengths: Whole) -> Chains:
    return Chains(rows, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def regrouped(owner: Whole) -> Chains:
    """The chains of detections that have the same owner; -1 is nobody's."""
    rows = np.flatnonzero(owner >= 0)
    return _grouped(rows, owner[rows])


def _grouped(rows: Whole, key: Whole) -> Chains:
    order = np.lexsort((rows, key))
    rows, key = rows[order], key[order]
    _, starts, lengths = np.unique(key, return_index=True, return_counts=True)
    by_birth = np.argsort(rows[starts], kind="stable")
    rank = np.empty(len(starts), np.int64)
    rank[by_birth] = np.arange(len(starts))
    return _chains(rows[np.argsort(np.repeat(rank, lengths), kind="stable")], lengths[by_birth])


def join(looks: Looks, chains: Chains, ends_us: Sequence[int]) -> Chains:
    """Tracklets that continue one another, by motion over at most `BRIDGE_S`, become one; none across the ends of stretches.

    A tracklet's smoothed end is carried forward to the start of another; place and speed must agree.
    """
    if len(chains) < 2:
        return chains
    time_us = looks.time_us[looks.look[chains.rows]]
    state = kalman.smooth(time_us, looks.box[chains.rows], chains.starts)
    first, last = chains.starts[:-1], chains.starts[1:] - 1
    stretch = np.searchsorted(np.asarray(ends_us), time_us[first], "left")
    kind = KIND[looks.label[chains.rows]]
    low = np.searchsorted(time_us[first], time_us[last], "right")
    high = np.searchsorted(time_us[first], time_us[last] + int(BRIDGE_S * 1e6), "right")
    a = np.repeat(np.arange(len(chains)), high - low)
    b = np.arange(len(a)) - np.repeat(np.cumsum(high - low) - (high - low), high - low) + np.repeat(low, high - low)
    lasted = time_us[last] - time_us[first]
    fits = (stretch[a] == stretch[b]) & (time_us[first[b]] - time_us[last[a]] <= np.maximum(lasted[a], lasted[b]))
    fits &= (kind[last[a]] == kind[first[b]]) | (kind[last[a]] == 0) | (kind[first[b]] == 0)
    a, b = a[fits], b[fits]
    gap_s = ((time_us[first[b]] - time_us[last[a]]) * 1e-6)[:, None]
    price = _disagreement(kalman.predict(state.rows(last[a]), gap_s), state.rows(first[b])) / BRIDGE_GATE
    near = price < 1
    a, b, price = a[near], b[near], price[near] + gap_s[near, 0] / BRIDGE_S
    follower = _matched(a, b, price, len(chains))
    leader = np.arange(len(chains))
    for one in range(len(chains)):
        if follower[one] >= 0:
            leader[follower[one]] = leader[one]
    return _grouped(chains.rows, leader[chains.track])


def _disagreement(a: Motion, b: Motion) -> Array:
    """Squared Mahalanobis distance of two beliefs of place and speed, summed over the four of a box."""
    _, _, pp, ps, ss = a.parts + b.parts
    place, speed, *_ = b.parts - a.parts
    return np.asarray(((ss * place**2 - 2 * ps * place * speed + pp * speed**2) / (pp * ss - ps**2)).sum(1))


def _matched(a: Whole, b: Whole, price: Array, count: int) -> Whole:
    """For each tracklet the one that follows it, or -1: the cheapest matching of the pairs (a, b), group by group."""
    follower = np.full(count, -1, np.int64)
    edges = coo_array((np.ones(len(a)), (a, b + count)), shape=(2 * count, 2 * count))
    _, group = connected_components(edges, directed=False)
    order = np.argsort(group[a], kind="stable")
    for pairs in np.split(order, np.flatnonzero(np.diff(group[a][order])) + 1):
        if not len(pairs):
            continue
        ones, row = np.unique(a[pairs], return_inverse=True)
        others, column = np.unique(b[pairs], return_inverse=True)
        table = np.full((len(ones), len(others)), NEVER)
        table[row, column] = price[pairs]
        left, right = assign(table)
        follower[ones[left]] = others[right]
    return follower


def confirmed(looks: Looks, chains: Chains) -> Chains:
    """The tracks that were seen often and long enough to be believed."""
    time_us = looks.time_us[looks.look[chains.rows]]
    lasted = time_us[chains.starts[1:] - 1] - time_us[chains.starts[:-1]] if len(chains) else np.zeros(0)
    return chains.only((np.diff(chains.starts) >= LEAST_SEEN) & (lasted >= LEAST_S * 1e6))


def to_tracks(frames: Frames, looks: Looks, chains: Chains) -> Tracks:
    """Smoothed tracks with a row for each look from their first detection to their last."""
    if not len(chains):
        return empty()
    rows, track = chains.rows, chains.track
    time_us = looks.time_us[looks.look[rows]]
    state = kalman.smooth(time_us, looks.box[rows], chains.starts)
    first, last = looks.look[rows[chains.starts[:-1]]], looks.look[rows[chains.starts[1:] - 1]]
    count = last - first + 1
    owner = np.repeat(np.arange(len(chains)), count)
    look = np.arange(len(owner)) - np.repeat(np.cumsum(count) - count, count) + first[owner]
    width = len(looks.time_us) + 1
    left = np.searchsorted(track * width + looks.look[rows], owner * width + look, "right") - 1
    right = np.minimum(left + 1, chains.starts[1:][owner] - 1)
    seen = looks.look[rows[left]] == look
    span = ((time_us[right] - time_us[left]) * 1e-6)[:, None]
    span = np.where(span > 0, span, 1.0)
    share = ((looks.time_us[look] - time_us[left]) * 1e-6)[:, None] / span
    place, speed, _ = cubic(state.place[left], state.speed[left], state.place[right], state.speed[right], share, span)
    size = state.place[left, 2:] + share * (state.place[right, 2:] - state.place[left, 2:])
    box = np.concatenate([place[:, :2], np.maximum(size, 1.0)], axis=1)
    frame = looks.frame[look]
    corners = from_reference(box, frames.to_reference[frame])
    under = np.stack([(corners[:, 0] + corners[:, 2]) / 2, corners[:, 3]], axis=1)
    foot, _ = mapped(under, frames.to_reference[frame])
    velocity = speed[:, :2] + np.stack([np.zeros(len(speed)), np.where(seen, speed[:, 3], 0.0) / 2], axis=1)
    order = np.lexsort((owner, look))
    return Tracks(
        time_us=looks.time_us[look][order],
        frame=frame[order],
        id=(owner + 1).astype(np.int32)[order],
        label=vote(looks, chains)[owner][order],
        score=np.where(seen, looks.score[rows[left]], 0).astype(np.float32)[order],
        box=corners.astype(np.float32)[order],
        state=np.where(seen, State.SEEN, State.BRIDGED).astype(np.uint8)[order],
        foot=foot[order],
        velocity=velocity[order],
        jitter=_jitter(looks, chains, state)[owner][order],
    )


def vote(looks: Looks, chains: Chains) -> NDArray[np.uint8]:
    """The label of each track: the one with the largest sum of scores."""
    labels = int(looks.label.max(initial=0)) + 1
    key = chains.track * labels + looks.label[chains.rows]
    votes = np.bincount(key, looks.score[chains.rows], len(chains) * labels).reshape(len(chains), labels)
    return np.asarray(votes.argmax(1), np.uint8)


def _jitter(looks: Looks, chains: Chains, state: Motion) -> NDArray[np.float32]:
    """Root mean square of the distance of measured feet from smoothed ones along one axis, of each track (pixels)."""
    off = looks.box[chains.rows] - state.place
    square = (off[:, 0] ** 2 + (off[:, 1] + off[:, 3] / 2) ** 2) / 2
    return np.sqrt(np.add.reduceat(square, chains.starts[:-1]) / np.diff(chains.starts)).astype(np.float32)
