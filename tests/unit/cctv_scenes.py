"""Small worlds with known road users, as a detector would report them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.cctv.detections import Detections
from tilery.workloads.cctv.frames import Frames, Looked
from tilery.workloads.cctv.labels import LABELS
from tilery.workloads.cctv.tracks import State, Tracks

SECOND = 1_000_000
PERSON, BICYCLE, CAR, TRUCK, MOVING = (LABELS.index(name) for name in ("person", "bicycle", "car", "truck", "moving"))


def frames(count: int, fps: float = 10.0, looked: int = Looked.DETECTED, start_us: int = 0) -> Frames:
    time_us = start_us + (np.arange(count) * SECOND / fps).astype(np.int64)
    return Frames(time_us, np.full(count, looked, np.uint8), np.tile(np.eye(3), (count, 1, 1)))


def walker(
    seen: Frames,
    start: tuple[float, float],
    velocity: tuple[float, float],
    *,
    size: tuple[float, float] = (30.0, 80.0),
    during: tuple[float, float] = (0.0, 1e9),
    hidden: Sequence[tuple[float, float]] = (),
    label: int = PERSON,
    score: float = 0.8,
    moving: float = 0.5,
    noise: float = 0.0,
    seed: int = 0,
) -> Detections:
    """One road user whose box's centre is at `start` at time 0; times in seconds."""
    t = seen.time_us * 1e-6
    there = (t >= during[0]) & (t <= during[1])
    for begin, end in hidden:
        there &= ~((t >= begin) & (t < end))
    centre = np.array(start) + t[there, None] * np.array(velocity)
    half = np.array(size) / 2
    box = np.concatenate([centre - half, centre + half], axis=1)
    box += np.random.default_rng(seed).normal(0, noise, box.shape)
    n = int(there.sum())
    return Detections(
        time_us=seen.time_us[there],
        label=np.full(n, label, np.uint8),
        score=np.full(n, score, np.float32),
        box=box.astype(np.float32),
        moving=np.full(n, moving, np.float32),
    )


def together(*parts: Detections) -> Detections:
    """In the order that tables have: time, falling score, box."""
    columns = [np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(Detections)]
    order = np.lexsort((*columns[3].T[::-1], -columns[2], columns[0]))
    return Detections(*(column[order] for column in columns))


def only(found: Detections, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Detections:
    return Detections(*(getattr(found, column.name)[rows] for column in fields(Detections)))


def path(
    points: Sequence[tuple[float, float]],
    *,
    fps: float = 10.0,
    identity: int = 1,
    label: int = PERSON,
    jitter: float = 1.0,
    start_us: int = 0,
    bridged: Sequence[int] = (),
) -> Tracks:
    """A track whose foot is at these points, one a frame; its velocity is that of the points."""
    foot = np.array(points, np.float64)
    n = len(foot)
    state = np.full(n, State.SEEN, np.uint8)
    state[list(bridged)] = State.BRIDGED
    velocity = np.gradient(foot, axis=0) * fps if n > 1 else np.zeros((n, 2))
    return Tracks(
        time_us=start_us + (np.arange(n) * SECOND / fps).astype(np.int64),
        frame=np.arange(n),
        id=np.full(n, identity, np.int32),
        label=np.full(n, label, np.uint8),
        score=np.full(n, 0.8, np.float32),
        box=np.concatenate([foot - np.array([15, 80]), foot + np.array([15, 0])], axis=1).astype(np.float32),
        state=state,
        foot=foot,
        velocity=velocity,
        jitter=np.full(n, jitter, np.float32),
    )


def all_of(*parts: Tracks) -> Tracks:
    """Several tracks as one table."""
    columns = [np.concatenate([getattr(part, column.name) for part in parts]) for column in fields(Tracks)]
    whole = Tracks(*columns)
    return whole.only(np.lexsort((whole.id, whole.time_us)))
