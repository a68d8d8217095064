"""Small tables of a made-up scene: three road users who cross a picture of 200 x 100 pixels, looked at six times a second."""

from __future__ import annotations

import numpy as np

from tilery.workloads.cctv.detections import Detections
from tilery.workloads.cctv.frames import Frames, Looked
from tilery.workloads.cctv.labels import LABELS
from tilery.workloads.cctv.tracks import State, Tracks

SIZE = (200, 100)
USERS = (("person", 10.0, 30.0, 12.0), ("car", 190.0, 60.0, -30.0), ("bicycle", 5.0, 80.0, 20.0))
"""Class, x and y at the start, pixels a second."""


def frames(count: int = 60, rate: int = 12) -> Frames:
    """Every second one is looked at; the fifth is damaged."""
    looked = np.where(np.arange(count) % 2 == 0, Looked.DETECTED, Looked.SKIPPED).astype(np.uint8)
    looked[5] = Looked.DAMAGED
    return Frames(
        np.arange(count, dtype=np.int64) * 1_000_000 // rate, looked, np.broadcast_to(np.eye(3), (count, 3, 3)).copy()
    )


def boxes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.stack([x - 4, y - 16, x + 4, y], axis=-1).astype(np.float32)


def detections(of: Frames) -> Detections:
    at = np.flatnonzero(of.looked == Looked.DETECTED)
    label = np.array([LABELS.index(name) for name, *_ in USERS], np.uint8)
    time_us = np.repeat(of.time_us[at], len(USERS))
    x = np.concatenate([[x0 + speed * time / 1e6 for _, x0, _, speed in USERS] for time in of.time_us[at]])
    y = np.tile([y0 for _, _, y0, _ in USERS], len(at))
    count = len(time_us)
    return Detections(
        time_us, np.tile(label, len(at)), np.tile(np.array([0.9, 0.8, 0.7], np.float32), len(at)), boxes(x, y),
        np.where(np.arange(count) % 4 == 0, np.nan, 0.5).astype(np.float32),
    )  # fmt: skip


def tracks(of: Frames) -> Tracks:
    """What a perfect tracker makes of them; one row is bridged."""
    found = detections(of)
    count, users = len(found), len(USERS)
    state = np.zeros(count, np.uint8)
    state[users] = State.BRIDGED
    foot = np.stack([(found.box[:, 0] + found.box[:, 2]) / 2, found.box[:, 3]], axis=1).astype(np.float64)
    velocity = np.tile([[speed, 0.0] for *_, speed in USERS], (count // users, 1))
    return Tracks(
        time_us=found.time_us, frame=np.searchsorted(of.time_us, found.time_us),
        id=np.tile(np.arange(1, users + 1, dtype=np.int32), count // users), label=found.label,
        score=np.where(state == State.SEEN, found.score, np.float32(0)), box=found.box, state=state, foot=foot,
        velocity=velocity, jitter=np.full(count, 0.5, np.float32),
    )  # fmt: skip
