"""Two tracks of one road user: a box in a box, a rider and what is ridden, a driver and the vehicle. One of the two goes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.cctv.association import KIND
from tilery.workloads.cctv.labels import LABELS
from tilery.workloads.cctv.tracks import State, Tracks

INSIDE = 0.7
"""Share of the smaller box that lies in the other: above, they may be one."""
RIDDEN = 0.4
"""The same for a person and a bicycle or motorcycle."""
ALONG = 0.5
"""Share of the shorter track's rows in which that must be so."""
PERSON = LABELS.index("person")
RIDE = int(KIND[LABELS.index("bicycle")])
ANY = 0
"""The kind of what only moves."""


def without_doubles(tracks: Tracks) -> Tracks:
    """Without the tracks that go along inside another.

    Of two of a kind the one seen less often goes, of rider and ride the rider, of driver and vehicle the driver.
    """
    if not len(tracks):
        return tracks
    ids, index, rows = np.unique(tracks.id, return_inverse=True, return_counts=True)
    seen = np.bincount(index, tracks.state == State.SEEN)
    person = np.zeros(len(ids), bool)
    person[index] = tracks.label == PERSON
    pairs, counts = np.unique(np.concatenate(list(_together(tracks, index))), return_counts=True)
    a, b = pairs // len(ids), pairs % len(ids)
    enough = counts >= ALONG * np.minimum(rows[a], rows[b])
    gone = np.zeros(len(ids), bool)
    chosen = sorted(zip(a[enough], b[enough], counts[enough], strict=True), key=lambda one: (min(seen[list(one[:2])]), *one))
    for one, other, count in chosen:
        if gone[one] or gone[other]:
            continue
        less = one if seen[one] < seen[other] else other
        if person[one] != person[other]:
            rider = one if person[one] else other
            less = rider if count >= ALONG * rows[rider] else one + other - rider
        gone[less] = True
    return tracks.only(~gone[index])


def _together(tracks: Tracks, index: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """A number for each pair of tracks, once for each frame in which one's box is within the other's.

    A person is within a vehicle only while both drive: who walks before a car is no part of it.
    """
    yield np.zeros(0, np.int64)
    count = int(index.max()) + 1
    box = tracks.box.astype(np.float64)
    area = np.maximum(box[:, 2] - box[:, 0], 0) * np.maximum(box[:, 3] - box[:, 1], 0)
    _, per_frame = np.unique(tracks.frame, return_counts=True)
    kind = KIND[tracks.label]
    for step in range(1, int(per_frame.max())):
        a = np.flatnonzero(tracks.frame[step:] == tracks.frame[:-step])
        b = a + step
        side = np.minimum(box[a, 2:], box[b, 2:]) - np.maximum(box[a, :2], box[b, :2])
        both = np.maximum(side[:, 0], 0) * np.maximum(side[:, 1], 0)
        share = both / np.maximum(np.minimum(area[a], area[b]), 1e-9)
        differs = (kind[a] != kind[b]) & (kind[a] != ANY) & (kind[b] != ANY)
        ride = differs & ((kind[a] == RIDE) | (kind[b] == RIDE))
        apart = np.hypot(*(tracks.velocity[a] - tracks.velocity[b]).T)
        alike = apart < 0.5 * np.minimum(np.hypot(*tracks.velocity[a].T), np.hypot(*tracks.velocity[b].T))
        near = (share > np.where(ride, RIDDEN, INSIDE)) & (alike | ~differs)
        low, high = np.minimum(index[a], index[b])[near], np.maximum(index[a], index[b])[near]
        yield low * count + high
