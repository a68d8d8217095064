"""One pass over all detections of a camera's timeline: boxes become tracks.

Link, look by look: confident detections first, then doubtful ones for the tracks that are left (ByteTrack, Zhang et al. 2022,
arXiv:2110.06864), by motion and overlap. Then, since everything is known: join tracklets over occlusions, drop what was never
confirmed, what doubles another and what never moves, smooth, and bridge. The result depends on the detections alone, not on
the order of equal times nor on how the video was cut.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.cctv import parked, tracklets
from tilery.workloads.cctv.detections import Detections
from tilery.workloads.cctv.doubles import without_doubles
from tilery.workloads.cctv.frames import Frames
from tilery.workloads.cctv.linking import Trust, link, reach_back
from tilery.workloads.cctv.looks import Looks, gather, stretches
from tilery.workloads.cctv.tracks import Tracks, numbered

DOUBTFUL = 0.7
"""Detections with less than this share of the confident score are not used at all."""
BEGINS = 1.3
"""A track begins with a score of so many times the confident one."""
HIGHEST = 0.9
"""No detection need have more than this to begin a track."""


def track(
    frames: Frames,
    detections: Detections,
    *,
    confident: float,
    gap_us: int = 2_000_000,
    gate: bool = True,
    missing: Sequence[tuple[int, int]] = (),
) -> Tracks:
    """Tracks of a whole timeline, a row for each track and each looked-at frame between its first and last detection.

    confident: from this score on a detection is believed. gap_us: after a longer time without frames, ids start anew.
    gate: drop what never moves. missing: spans [start_us, stop_us) of which nothing is known; tracks end there.
    """
    looks = gather(frames, detections, confident * DOUBTFUL)
    spans = list(stretches(frames, looks, gap_us, missing))
    trust = trusted(looks, confident, gate)
    chains = tracklets.regrouped(link(looks, spans, trust))
    chains = tracklets.join(looks, chains, [looks.time_us[span.stop - 1] for span in spans])
    chains = tracklets.confirmed(looks, parked.left(looks, chains) if gate else chains)
    chains = reach_back(looks, spans, chains, ~(gate & (looks.moving < parked.GHOST)))
    tracks = tracklets.to_tracks(frames, looks, chains)
    return numbered(without_doubles(parked.gate(looks, chains, tracks) if gate else tracks))


def begins(confident: float) -> float:
    """The score from which a detection is enough to begin a track: what is to be believed without one, too."""
    return min(BEGINS * confident, max(HIGHEST, confident))


def trusted(looks: Looks, confident: float, gate: bool) -> NDArray[np.int64]:
    """The `Trust` of each detection. With the gate, motion is evidence as the score is: what does not move is doubtful."""
    trust = np.full(len(looks.score), Trust.DOUBTFUL, np.int64)
    trust[looks.score >= confident] = Trust.CONFIDENT
    trust[looks.score >= begins(confident)] = Trust.BEGINS
    if gate:
        trust[looks.moving < parked.GHOST] = Trust.DOUBTFUL
    return trust
