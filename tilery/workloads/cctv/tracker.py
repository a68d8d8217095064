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

from tilery.workloads.cctv import kalman, parked, tracklets
from tilery.workloads.cctv.association import KIND, assign, cost
from tilery.workloads.cctv.detections import Detections
from tilery.workloads.cctv.doubles import without_doubles
from tilery.workloads.cctv.frames import Frames
from tilery.workloads.cctv.looks import Looks, gather, stretches
from tilery.workloads.cctv.tracks import Tracks, numbered

PATIENCE_S = 1.0
"""How long a track that is not seen waits for its next detection; later ones are joined by `tracklets.join`."""
LEAST_PATIENCE_S = 0.4
"""A track waits no longer than it was seen, but at least this long."""
OVERLAP = 0.1
"""What a doubtful detection must share with the expected box."""
DOUBTFUL = 0.6
"""Detections with less than this share of the confident score are not used at all."""


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

    confident: the least score that starts a track. gap_us: after a longer time without frames, ids start anew.
    gate: drop what never moves. missing: spans [start_us, stop_us) of which nothing is known; tracks end there.
    """
    looks = gather(frames, detections, confident * DOUBTFUL)
    spans = list(stretches(frames, looks, gap_us, missing))
    owner = np.full(len(looks.look), -1, np.int64)
    count = 0
    sure = (looks.score >= confident) & ~(gate & (looks.moving < parked.GHOST))
    for span in spans:
        count = _link(looks, span, sure, owner, count)
    chains = tracklets.collect(looks, owner)
    chains = tracklets.join(looks, chains, [looks.time_us[span.stop - 1] for span in spans])
    chains = tracklets.confirmed(looks, parked.left(looks, chains) if gate else chains)
    tracks = without_doubles(tracklets.to_tracks(frames, looks, chains))
    return numbered(parked.gate(tracks) if gate else tracks)


def _link(looks: Looks, span: range, confident: NDArray[np.bool_], owner: NDArray[np.int64], count: int) -> int:
    """Write the tracklet of each detection of a stretch into `owner`; returns the number of tracklets so far."""
    none = np.zeros(0, np.int64)
    motion, ids, kinds, seen, born = kalman.begin(np.zeros((0, 4))), none, none, none, none
    kind = KIND[looks.label]
    before = int(looks.time_us[span.start])
    usual = float(np.median(np.diff(looks.time_us[span.start : span.stop]))) if len(span) > 1 else 0.0
    least, most = max(LEAST_PATIENCE_S * 1e6, 2.5 * usual), max(PATIENCE_S * 1e6, 4.5 * usual)
    for look in span:
        rows = np.arange(looks.first[look], looks.first[look + 1])
        now = int(looks.time_us[look])
        if len(ids):
            alive = now - seen <= np.clip(seen - born, least, most)
            if not alive.all():
                motion, ids, kinds, seen, born = motion.rows(alive), ids[alive], kinds[alive], seen[alive], born[alive]
            motion = kalman.predict(motion, (now - before) * 1e-6)
        before = now
        if not len(rows):
            continue
        sure = confident[rows]
        first, second = rows[sure], rows[~sure]
        a, b = assign(cost(motion, kinds, looks.box[first], kind[first]))
        free = np.ones(len(ids), bool)
        free[a] = False
        rest = np.flatnonzero(free)
        c, d = assign(cost(motion.rows(rest), kinds[rest], looks.box[second], kind[second], OVERLAP))
        tracks, found = np.concatenate([a, rest[c]]), np.concatenate([first[b], second[d]])
        if len(tracks):
            motion.put(tracks, kalman.correct(motion.rows(tracks), looks.box[found]))
            owner[found] = ids[tracks]
            seen[tracks] = now
        new = np.delete(first, b)
        if len(new):
            owner[new] = fresh = np.arange(count, count + len(new))
            count += len(new)
            motion = motion.join(kalman.begin(looks.box[new]))
            ids, kinds = np.concatenate([ids, fresh]), np.concatenate([kinds, kind[new]])
            seen, born = np.concatenate([seen, np.full(len(new), now)]), np.concatenate([born, np.full(len(new), now)])
    return count
