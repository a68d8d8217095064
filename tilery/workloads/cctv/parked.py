"""What never moves is no road user: ghosts of the detector, and vehicles that stay parked."""

from __future__ import annotations

import numpy as np

from tilery.workloads.cctv.tracks import Tracks

GHOST = 0.05
"""A share of the box that moved below this is noise: such a detection may continue a track, but starts none."""
STAYS = 0.5
"""In box sizes: what never gets this far from where it was stays."""


def gate(tracks: Tracks) -> Tracks:
    """The tracks that went somewhere: half their own size, in pixels of the reference frame."""
    if not len(tracks):
        return tracks
    _, index = np.unique(tracks.id, return_inverse=True)
    return tracks.only((reach(tracks) >= STAYS)[index])


def reach(tracks: Tracks) -> np.ndarray:
    """How far each track's feet spread (the diagonal of the middle 90 % in x and in y), in sizes of its median box."""
    far = []
    for _, rows in tracks.by_track():
        low, high = np.quantile(tracks.foot[rows], [0.05, 0.95], axis=0)
        side = np.median(tracks.box[rows, 2:] - tracks.box[rows, :2], axis=0)
        far.append(np.hypot(*(high - low)) / np.sqrt(max(float(side[0] * side[1]), 1.0)))
    return np.array(far)
