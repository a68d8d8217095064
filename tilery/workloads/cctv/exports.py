"""The tables as files that other tools read: Parquet, MOT 1.1, COCO, CSV, GeoJSON, NPZ. The same tables give the same bytes."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tilery.workloads.cctv.detections import Detections
from tilery.workloads.cctv.frames import Frames, Looked
from tilery.workloads.cctv.labels import COCO, LABELS
from tilery.workloads.cctv.tracks import State, Tracks, dense

ROW_GROUP = 1 << 17
DENSE_FRAMES = 5_000
COCO_IDS = (
    *range(1, 12), *range(13, 26), 27, 28, *range(31, 45), *range(46, 66), 67, 70, *range(72, 83), *range(84, 91),
)  # fmt: skip
"""The ids that COCO's own files give to its 80 classes; whatever moves comes after them."""
MOVING_ID = 100


def category(label: int) -> int:
    """The id of a class in COCO files."""
    return COCO_IDS[label] if label < len(COCO) else MOVING_ID


def moment(start: datetime | None, time_us: int) -> str:
    """A time of the timeline as ISO 8601 to the nearest millisecond; empty where nothing says when the timeline starts.

    Reckoned in UTC: a clock that is set forward or back on the way is so in what is written, and no time passes by that.
    """
    if start is None:
        return ""
    then = start.astimezone(UTC) + timedelta(microseconds=int(time_us) + 500)
    return then.astimezone(start.tzinfo).isoformat(timespec="milliseconds")


def detections_table(frames: Frames, detections: Detections, start: datetime | None, least: float) -> pa.Table:
    """A row a box: frame (from 0), time, class, score, whether that is `least` or more, corners in pixels of the upright
    frame, share that moved."""
    return pa.table(
        {
            "frame": np.searchsorted(frames.time_us, detections.time_us),
            **_times(detections.time_us, start),
            "class": _names(detections.label),
            "score": detections.score,
            "confident": detections.score >= least,
            **_corners(detections.box),
            "moving": pa.array(detections.moving, from_pandas=True),
        }
    )


def tracks_table(tracks: Tracks, start: datetime | None, more: Mapping[str, NDArray[Any]]) -> pa.Table:
    """A row for each track in each frame that was looked at while it was there; `more` are columns of the same length.

    `x`, `y` are the bottom centre in pixels of the reference frame, `vx`, `vy` its velocity in those pixels a second.
    """
    return pa.table(
        {
            "frame": tracks.frame,
            **_times(tracks.time_us, start),
            "track": tracks.id,
            "class": _names(tracks.label),
            "score": tracks.score,
            **_corners(tracks.box),
            "state": pa.DictionaryArray.from_arrays(
                pa.array(tracks.state.astype(np.int8)), pa.array([state.name.lower() for state in State])
            ),
            "x": tracks.foot[:, 0],
            "y": tracks.foot[:, 1],
            "vx": tracks.velocity[:, 0],
            "vy": tracks.velocity[:, 1],
            **{name: pa.array(values, from_pandas=True) for name, values in more.items()},
        }
    )


def write_parquet(table: pa.Table, target: BinaryIO) -> None:
    """zstd; row groups are ranges of time, and their statistics let readers skip them."""
    pq.write_table(table, target, compression="zstd", compression_level=6, row_group_size=ROW_GROUP, store_schema=False)


def explicit(frames: Frames, detections: Detections) -> Detections:
    """The detections with those of still frames, which are the ones of the look before."""
    looked = np.flatnonzero((frames.looked == Looked.DETECTED) | (frames.looked == Looked.STILL))
    times = frames.time_us[looked]
    left, right = (np.searchsorted(detections.time_us, times, side) for side in ("left", "right"))
    own = (right > left) | (frames.looked[looked] != Looked.STILL)
    source = np.maximum.accumulate(np.where(own, np.arange(len(looked)), 0))
    count = (right - left)[source]
    before = np.cumsum(count) - count
    rows = np.arange(count.sum()) + np.repeat(left[source] - before, count)
    columns = {name: getattr(detections, name)[rows] for name in ("label", "score", "box", "moving")}
    return Detections(time_us=np.repeat(times, count), **columns)


def in_every_frame(tracks: Tracks, frames: Frames) -> Iterator[Tracks]:
    """The tracks in all frames, those between two looks too; some thousand frames at a time."""
    order = np.lexsort((tracks.frame, tracks.id))
    same = tracks.id[order][1:] == tracks.id[order][:-1]
    reach = int(np.diff(tracks.frame[order])[same].max(initial=1))
    for start in range(0, len(frames), DENSE_FRAMES):
        stop = start + DENSE_FRAMES
        first, last = np.searchsorted(tracks.frame, [start - reach, stop + reach])
        yield dense(tracks.only(np.arange(first, last)), frames, start, stop)


def write_mot(
    tracks: Iterable[Tracks],
    target: BinaryIO,
    *,
    labels: Iterable[int],
    size: tuple[int, int],
    frames: int,
    rate: float,
    name: str,
) -> None:
    """MOT 1.1 as CVAT takes it: a zip of gt/gt.txt, gt/labels.txt and seqinfo.ini. `labels` are those that occur.

    A line: frame (from 1), track, left, top, width, height (pixels from 0), 1, class (a line of labels.txt, from 1), how much
    is seen (1, or 0 where the place is interpolated).
    """
    used = sorted(set(labels))
    number = {label: at for at, label in enumerate(used, 1)}
    lines = (
        f"{frame + 1},{track},{left:.2f},{top:.2f},{right - left:.2f},{bottom - top:.2f},1,{number[label]},{int(state == 0)}\n"
        for part in tracks
        for frame, track, label, (left, top, right, bottom), state in zip(
            part.frame.tolist(),
            part.id.tolist(),
            part.label.tolist(),
            part.box.astype(np.float64).tolist(),
            part.state.tolist(),
            strict=True,
        )
    )
    info = (
        f"[Sequence]\nname={name}\nimDir=img1\nframeRate={rate:g}\nseqLength={frames}\n"
        f"imWidth={size[0]}\nimHeight={size[1]}\nimExt=.jpg\n"
    )
    _zip(
        target,
        {
            "gt/gt.txt": lines,
            "gt/labels.txt": ["".join(f"{LABELS[label]}\n" for label in used)],
            "seqinfo.ini": [info],
        },
    )


def write_coco(frames: Frames, detections: Detections, target: BinaryIO, *, size: tuple[int, int], name: str) -> None:
    """COCO: an image for each frame that went through the detector, its boxes with their scores. Written as it goes along."""
    looked = np.flatnonzero((frames.looked == Looked.DETECTED) | (frames.looked == Looked.STILL))
    of = np.searchsorted(frames.time_us, detections.time_us)

    def images() -> Iterator[Any]:
        for frame in looked.tolist():
            time_s = frames.time_us[frame].item() / 1e6
            file = f"{name}/{frame:08d}.jpg"
            yield {"id": frame + 1, "file_name": file, "width": size[0], "height": size[1], "frame": frame, "time_s": time_s}

    def annotations() -> Iterator[Any]:
        boxes = np.round(detections.box.astype(np.float64), 2).tolist()
        rows = zip(of.tolist(), detections.label.tolist(), detections.score.tolist(), boxes, strict=True)
        for number, (frame, label, score, (left, top, right, bottom)) in enumerate(rows, 1):
            width, height = round(right - left, 2), round(bottom - top, 2)
            yield {
                "id": number, "image_id": frame + 1, "category_id": category(label), "bbox": [left, top, width, height],
                "area": round(width * height, 2), "iscrowd": 0, "score": round(score, 4),
            }  # fmt: skip

    categories = ({"id": category(label), "name": label_name} for label, label_name in enumerate(LABELS))
    target.write(b'{"info":{"description":' + json.dumps(name).encode() + b'},"licenses":[]')
    for key, values in (("categories", categories), ("images", images()), ("annotations", annotations())):
        target.write(f',"{key}":['.encode())
        for count, value in enumerate(values):
            target.write((b",\n" if count else b"\n") + json.dumps(value, separators=(",", ":")).encode())
        target.write(b"]")
    target.write(b"}\n")


def csv_bytes(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    """A CSV file; None is an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue().encode()


def write_trajectories(
    tracks: Tracks,
    places: NDArray[np.float64],
    units: str,
    start: datetime | None,
    of_track: Mapping[int, Mapping[str, Any]],
    target: BinaryIO,
) -> None:
    """GeoJSON: a line for each track through its `places` (n, 2), with times in seconds and what else is known of it.

    Places that are not known (NaN: at the horizon of a calibration) are left out; a track without any has no geometry.
    `units` is what the coordinates are: `degrees` (longitude, latitude, as RFC 7946 has them), `metres` or `pixels`; only the
    first are a map's, and the others say so in the collection.
    """
    digits = {"degrees": 8, "metres": 3}.get(units, 1)
    head = {"type": "FeatureCollection", "units": units}
    target.write(json.dumps(head)[:-1].encode() + b', "features": [')
    for count, (identity, rows) in enumerate(tracks.by_track()):
        seconds = (tracks.time_us[rows] / 1e6).round(3)
        known = np.isfinite(places[rows]).all(1)
        feature = {
            "type": "Feature",
            "id": identity,
            "geometry": _geometry(np.round(places[rows][known], digits).tolist()),
            "properties": {
                "track": identity,
                "class": LABELS[int(tracks.label[rows[0]])],
                "start_s": seconds[0].item(),
                "end_s": seconds[-1].item(),
                "start": moment(start, tracks.time_us[rows[0]].item()) or None,
                "end": moment(start, tracks.time_us[rows[-1]].item()) or None,
                **of_track.get(identity, {}),
                "times_s": seconds[known].tolist(),
            },
        }
        target.write((b",\n" if count else b"\n") + json.dumps(feature, separators=(",", ":"), allow_nan=False).encode())
    target.write(b"\n]}\n")


def _geometry(line: list[list[float]]) -> dict[str, Any] | None:
    if len(line) > 1:
        return {"type": "LineString", "coordinates": line}
    return {"type": "Point", "coordinates": line[0]} if line else None


def npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Arrays as numpy reads them; a zip file that carries no date."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, values in arrays.items():
            data = io.BytesIO()
            np.save(data, values, allow_pickle=False)
            archive.writestr(_entry(f"{name}.npy"), data.getvalue())
    return target.getvalue()


def _times(time_us: NDArray[np.int64], start: datetime | None) -> dict[str, Any]:
    if start is None:
        when = pa.nulls(len(time_us), pa.timestamp("us", tz="UTC"))
    else:
        base = round(start.timestamp() * 1_000_000)
        when = pa.array(time_us + base).cast(pa.timestamp("us", tz="UTC"))
    return {"time_s": time_us / 1e6, "time": when}


def _names(label: NDArray[np.uint8]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(label.astype(np.int8)), pa.array(LABELS))


def _corners(box: NDArray[np.float32]) -> dict[str, Any]:
    return {name: np.ascontiguousarray(box[:, at]) for at, name in enumerate(("x1", "y1", "x2", "y2"))}


def _zip(target: BinaryIO, files: Mapping[str, Iterable[str]]) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, parts in files.items():
            with archive.open(_entry(name), "w") as file:
                for part in parts:
                    file.write(part.encode())


def _entry(name: str) -> zipfile.ZipInfo:
    """A member without a date and with ordinary permissions."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type, entry.external_attr, entry.create_system = zipfile.ZIP_DEFLATED, 0o644 << 16, 3
    return entry
