"""What never moves is no road user: ghosts of the detector, and vehicles that stay parked."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.cctv.labels import LABELS
from tilery.workloads.cctv.looks import Looks
from tilery.workloads.cctv.tracklets import Chains
from tilery.workloads.cctv.tracks import Tracks

GHOST = 0.05
"""A share of the box that moved below this is noise: such a detection may continue a track, but starts none."""
STILL_S = 5.0
"""A track that ends with more than this in which nothing moved has parked, or was left to a ghost that it passed."""
STANDING = ("person", "dog", "horse", "sheep", "cow", "cat", "bird")
"""Who may move without going anywhere."""
STAYS = 0.5
"""In box sizes: what never gets this far from where it was stays."""


def left(looks: Looks, chains: Chains) -> Chains:
    """Tracks without the time after they parked. Where motion was not measured, everything may move."""
    still = looks.moving[chains.rows] < GHOST
    time_us = looks.time_us[looks.look[chains.rows]]
    row = np.arange(len(still))
    moved = np.maximum.accumulate(np.where(still, 0, row))
    ends = chains.starts[1:] - 1
    last = np.maximum(moved[ends], chains.starts[:-1]) if len(chains) else ends
    last = np.where(time_us[ends] - time_us[last] > STILL_S * 1e6, last, ends)
    return chains.first_rows(last - chains.starts[:-1] + 1)


def gate(looks: Looks, chains: Chains, tracks: Tracks) -> Tracks:
    """The tracks that went somewhere, and the people and animals that moved where they stood.

    chains: what the tracks were made of; a track's id is its place in them, from 1. To go somewhere is half of one's own size,
    in pixels of the reference frame. Vehicles must, and what only moves (leaves, flags), and all where motion was not measured.
    """
    if not len(tracks):
        return tracks
    ids, index = np.unique(tracks.id, return_inverse=True)
    moves = np.array([np.median(part) >= GHOST for part in np.split(looks.moving[chains.rows], chains.starts[1:-1])])
    label = np.empty(len(ids), np.int64)
    label[index] = tracks.label
    stands = moves[ids - 1] & np.isin(label, [LABELS.index(name) for name in STANDING])
    return tracks.only(((reach(tracks) >= STAYS) | stands)[index])


def reach(tracks: Tracks) -> NDArray[np.float64]:
    """How far each track's feet spread (the diagonal of the middle 90 % in x and in y), in sizes of its median box."""
    far = []
    for _, rows in tracks.by_track():
        low, high = np.quantile(tracks.foot[rows], [0.05, 0.95], axis=0)
        side = np.median(tracks.box[rows, 2:] - tracks.box[rows, :2], axis=0)
        far.append(np.hypot(*(high - low)) / np.sqrt(max(float(side[0] * side[1]), 1.0)))
    return np.array(far)
