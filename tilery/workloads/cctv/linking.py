"""From look to look: confident detections first, then doubtful ones for the tracks that are left, by motion and overlap."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.cctv import kalman
from tilery.workloads.cctv.association import KIND, assign, cost
from tilery.workloads.cctv.looks import Looks
from tilery.workloads.cctv.tracklets import Chains, regrouped

Whole = NDArray[np.int64]

PATIENCE_S = 1.0
"""How long a track that is not seen waits for its next detection; later ones are joined by `tracklets.join`."""
LEAST_PATIENCE_S = 0.4
"""A track waits no longer than it was seen, but at least this long, and at least two and a half usual intervals."""
OVERLAP = 0.1
"""What a doubtful detection must share with the expected box."""


class Trust(IntEnum):
    """What a detection is good for."""

    DOUBTFUL = 1
    """It continues a track that no better one continues."""
    CONFIDENT = 2
    """It continues a track."""
    BEGINS = 3
    """It begins one."""


def link(looks: Looks, spans: Iterable[range], trust: NDArray[np.int64]) -> Whole:
    """The tracklet of each detection, or -1. Tracklets do not span more than one of the stretches `spans`."""
    owner = np.full(len(looks.look), -1, np.int64)
    count = 0
    for span in spans:
        count = _link_stretch(looks, span, trust, owner, count)
    return owner


def _link_stretch(looks: Looks, span: range, trust: NDArray[np.int64], owner: Whole, count: int) -> int:
    """Write into `owner`; returns the number of tracklets so far."""
    none = np.zeros(0, np.int64)
    motion, ids, kinds, seen, born = kalman.begin(np.zeros((0, 4))), none, none, none, none
    kind = KIND[looks.label]
    before = int(looks.time_us[span.start])
    least, most = _patience_us(looks, span)
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
        first, second = rows[trust[rows] >= Trust.CONFIDENT], rows[trust[rows] == Trust.DOUBTFUL]
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
        new = new[trust[new] == Trust.BEGINS]
        if len(new):
            owner[new] = fresh = np.arange(count, count + len(new))
            count += len(new)
            motion = motion.join(kalman.begin(looks.box[new]))
            ids, kinds = np.concatenate([ids, fresh]), np.concatenate([kinds, kind[new]])
            seen, born = np.concatenate([seen, np.full(len(new), now)]), np.concatenate([born, np.full(len(new), now)])
    return count


def _patience_us(looks: Looks, span: range) -> tuple[float, float]:
    usual = float(np.median(np.diff(looks.time_us[span.start : span.stop]))) if len(span) > 1 else 0.0
    return max(LEAST_PATIENCE_S * 1e6, 2.5 * usual), max(PATIENCE_S * 1e6, 4.5 * usual)


def reach_back(looks: Looks, spans: Iterable[range], chains: Chains, usable: NDArray[np.bool_]) -> Chains:
    """Tracks with what was seen of them before they were sure: backwards in time from their beginnings, among what is free.

    usable: the detections that may be taken.
    """
    if not len(chains):
        return chains
    owner = np.full(len(looks.look), -1, np.int64)
    owner[chains.rows] = chains.track
    begins = looks.look[chains.rows[chains.starts[:-1]]]
    states = kalman.smooth(looks.time_us[looks.look[chains.rows]], looks.box[chains.rows], chains.starts)
    states = kalman.backwards(states.rows(chains.starts[:-1]))
    kind = KIND[looks.label]
    kinds = kind[chains.rows[chains.starts[:-1]]]
    by_begin = np.argsort(begins, kind="stable")
    edges = np.searchsorted(begins[by_begin], np.arange(len(looks.time_us) + 1))
    for span in spans:
        least, _ = _patience_us(looks, span)
        ids = seen = np.zeros(0, np.int64)
        motion = kalman.begin(np.zeros((0, 4)))
        before = 0
        for look in reversed(span):
            now = int(looks.time_us[look])
            if len(ids):
                alive = seen - now <= least
                motion, ids, seen = kalman.predict(motion.rows(alive), (before - now) * 1e-6), ids[alive], seen[alive]
            before = now
            if len(ids):
                rows = np.arange(looks.first[look], looks.first[look + 1])
                rows = rows[usable[rows] & (owner[rows] < 0)]
                a, b = assign(cost(motion, kinds[ids], looks.box[rows], kind[rows], OVERLAP))
                if len(a):
                    motion.put(a, kalman.correct(motion.rows(a), looks.box[rows[b]]))
                    owner[rows[b]] = ids[a]
                    seen[a] = now
            new = by_begin[edges[look] : edges[look + 1]]
            if len(new):
                motion, ids = motion.join(states.rows(new)), np.concatenate([ids, new])
                seen = np.concatenate([seen, np.full(len(new), now)])
    return regrouped(owner)
