"""The finish verb: a segment of the video with boxes, paths, lines and counts. `products` joins the segments."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tilery.workload import Item, Work
from tilery.workloads.cctv import blur, film, marks, tables
from tilery.workloads.cctv.clips import BLOCK_US, Clip
from tilery.workloads.cctv.decode import decode
from tilery.workloads.cctv.frames import Frames
from tilery.workloads.cctv.labels import LABELS
from tilery.workloads.cctv.options import CctvOptions
from tilery.workloads.cctv.stabilise import apply, fill_gaps
from tilery.workloads.cctv.stored import Stored
from tilery.workloads.cctv.tracks import State, Tracks, dense

TRAIL_US = 2_000_000
"""How much of a track's path is drawn."""
Rgb = NDArray[np.uint8]


@dataclass(frozen=True)
class Scene:
    """What is drawn into every frame of a segment."""

    tracks: Tracks
    """In every frame of the segment."""
    trails: Tracks
    """In the frames that were looked at, from `TRAIL_US` before the segment on."""
    found: tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.uint8]]
    """Times, boxes and labels of all detections around the segment: what is blurred."""
    lines: Mapping[str, Sequence[Sequence[float]]]
    zones: Mapping[str, Sequence[Sequence[float]]]
    crossed: Mapping[str, Sequence[int]]
    """Line -> times (us) of its crossings, ascending."""
    hidden: Sequence[str]
    near_us: float
    """What was found so near to a frame in time is hidden in it."""


def finish(work: Work[CctvOptions], item: Item) -> dict[str, Any]:
    """Write `film/ID.mp4`; the value says how many frames it has, which is how many the segment has."""
    clip = Clip.of(work.run.facts["clips"][item["clip"]])
    frames = tables.decode_frames(work.store.get(work.key("process", "frames", item["id"])))
    scene = _scene(work, frames)
    matrices = fill_gaps(frames.time_us, frames.to_reference)
    width, height = film.size(clip.width, clip.height, work.options.film_px)
    path = work.scratch / "film.mp4"
    last: Rgb | None = None
    block = -1
    with film.Film(path, width, height) as made:
        pictures = decode(work.store, work.run, clip, item["start_us"], item["stop_us"], item["decode_from"])
        for number, picture in enumerate(pictures):
            if picture.clip_us // BLOCK_US != block:
                block, last = picture.clip_us // BLOCK_US, None
                made.block(picture.time_us)
            if not picture.damaged:
                last = _drawn(picture.rgb(width, height), picture.time_us, matrices[number], scene, width / clip.width)
            shown = last if last is not None else np.full((height, width, 3), 40, np.uint8)
            if picture.damaged:
                shown = shown.copy()
                marks.text(shown, "damaged", (8, 20), marks.INK)
            made.add(shown, picture.time_us)
            if number % 100 == 0:
                work.progress(number / max(1, len(frames)))
    if made.frames:
        work.store.upload(str(path), work.out("film", f"{item['id']}.mp4"))
    return {"frames": made.frames}


def _scene(work: Work[CctvOptions], frames: Frames) -> Scene:
    drawn = json.loads(work.store.get(work.key("merge", "drawn.json")))
    start, stop = (int(frames.time_us[0]), int(frames.time_us[-1])) if len(frames) else (0, 0)
    look_us = 2e6 / work.options.detect_hz
    margin = TRAIL_US + round(look_us + 1e6 * work.options.gap_s)
    tracked = _rows(work, "tracks.parquet", start - margin, stop + margin)
    found = _rows(work, "detections.parquet", start - margin, stop + margin)
    likely = found["score"] >= blur.DOUBTFUL * drawn["confident"]
    crossed = {name: [time for time in times if time <= stop] for name, times in drawn["crossed"].items()}
    return Scene(
        *_everywhere(tracked, frames.time_us),
        (_time_us(found)[likely], _boxes(found)[likely], _labels(found)[likely]),
        drawn["lines"],
        drawn["zones"],
        crossed,
        work.options.blur,
        look_us,
    )


def _drawn(picture: Rgb, time_us: int, to_reference: NDArray[np.float64], scene: Scene, scale: float) -> Rgb:
    height, width = picture.shape[:2]
    rows = slice(*np.searchsorted(scene.tracks.time_us, [time_us, time_us + 1]))
    boxes, labels = scene.tracks.box[rows], scene.tracks.label[rows]
    if scene.hidden:
        around, which = _around(scene.found, time_us, scene.near_us)
        every = np.concatenate([boxes, around]) * np.float32(scale)
        hidden = blur.regions(every, np.concatenate([labels, which]), scene.hidden, width, height)
        picture = blur.hide(picture, hidden)
    canvas = np.ascontiguousarray(picture)
    back = np.linalg.inv(to_reference)
    zones = {name: apply(back, np.asarray(points, float)) * scale for name, points in scene.zones.items()}
    lines = {
        f"{name}: {bisect_right(scene.crossed.get(name, []), time_us)}": apply(back, np.asarray(points, float)) * scale
        for name, points in scene.lines.items()
    }
    marks.shapes(canvas, zones, marks.ZONE, closed=True)
    marks.shapes(canvas, lines, marks.LINE, closed=False)
    _paths(canvas, time_us, back, scene, scale)
    ids = scene.tracks.id[rows].tolist()
    marks.boxes(canvas, boxes * scale, labels.tolist(), [str(one) for one in ids], [marks.colour_of(one) for one in ids])
    return canvas


def _paths(canvas: Rgb, time_us: int, back: NDArray[Any], scene: Scene, scale: float) -> None:
    """Where each track that is in the frame was in the seconds before."""
    trails = scene.trails
    rows = np.arange(*np.searchsorted(trails.time_us, [time_us - TRAIL_US, time_us]))
    for at in range(*np.searchsorted(scene.tracks.time_us, [time_us, time_us + 1])):
        identity = int(scene.tracks.id[at])
        feet = np.concatenate([trails.foot[rows[trails.id[rows] == identity]], scene.tracks.foot[at : at + 1]])
        marks.path(canvas, apply(back, feet) * scale, marks.colour_of(identity))


def _around(
    found: tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.uint8]], time_us: int, near_us: float
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """What was found in the frames looked at before and after this moment, tracked or not."""
    times, boxes, labels = found
    near = slice(*np.searchsorted(times, [time_us - near_us, time_us + near_us]))
    return boxes[near], labels[near]


def _everywhere(rows: Mapping[str, NDArray[Any]], time_us: NDArray[np.int64]) -> tuple[Tracks, Tracks]:
    """The tracks in every frame of the segment, and those in the frames that were looked at around it."""
    own = _time_us(rows)
    every = np.union1d(own, time_us)
    pairs = np.stack([rows["x"], rows["y"]], axis=1), np.stack([rows["vx"], rows["vy"]], axis=1)
    seen = Tracks(
        time_us=own,
        frame=np.searchsorted(every, own),
        id=rows["track"].astype(np.int32),
        label=_labels(rows),
        score=rows["score"].astype(np.float32),
        box=_boxes(rows),
        state=np.where(rows["state"] == "seen", State.SEEN, State.BRIDGED).astype(np.uint8),
        foot=pairs[0],
        velocity=pairs[1],
        jitter=np.zeros(len(own), np.float32),
    )
    still = np.broadcast_to(np.eye(3), (len(every), 3, 3))
    return dense(seen, Frames(every, np.zeros(len(every), np.uint8), still)), seen


def _rows(work: Work[CctvOptions], name: str, start_us: int, stop_us: int) -> dict[str, NDArray[Any]]:
    """The columns of the rows of a table whose time is in this span."""
    span = [("time_s", ">=", start_us / 1e6), ("time_s", "<=", stop_us / 1e6)]
    with Stored(work.store, work.key("merge", name)) as file:
        table = pq.read_table(file, filters=span, pre_buffer=True)
    return {column: table[column].to_numpy(zero_copy_only=False) for column in table.column_names if column != "time"}


def _time_us(rows: Mapping[str, NDArray[Any]]) -> NDArray[np.int64]:
    return np.round(rows["time_s"] * 1e6).astype(np.int64)


def _boxes(rows: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    return np.stack([rows[name] for name in ("x1", "y1", "x2", "y2")], axis=1).astype(np.float32)


def _labels(rows: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8]:
    return np.array([LABELS.index(name) for name in rows["class"]], np.uint8)
