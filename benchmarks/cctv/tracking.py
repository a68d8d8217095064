"""How good tracks and counts are: MOTA, IDF1 and HOTA of people on PETS, F1 of vehicles on highway, and what crosses lines.

python -m benchmarks.cctv.tracking [--detectors auto,nanodet,centernet] [--hz 5] [--keep FOLDER] [--draw FOLDER]

Detections are made by the process verb at the default rate (or read from FOLDER, if kept there). Truth has every frame, so
what is between two looks counts too. Peers (trackers.py) get the same detections. MOTA and IDF1 are motmetrics'.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.cctv.hota import Table, hota
from benchmarks.cctv.segments import seen, sized
from benchmarks.cctv.trackers import PEERS
from benchmarks.cctv.truth import DATA, Sequence, highway, pets, single
from tilery.workloads.cctv.clips import Clip
from tilery.workloads.cctv.counting import WAYS, crossings
from tilery.workloads.cctv.decode import decode
from tilery.workloads.cctv.detections import Detections
from tilery.workloads.cctv.frames import Frames, Looked
from tilery.workloads.cctv.labels import LABELS
from tilery.workloads.cctv.nms import areas, intersections, overlaps
from tilery.workloads.cctv.options import Line
from tilery.workloads.cctv.tracker import begins, track
from tilery.workloads.cctv.tracks import State, Tracks, dense

np.asfarray = lambda values, *_: np.asarray(values, np.float64)  # type: ignore[attr-defined]  # motmetrics 1.4 needs NumPy 1's
import motmetrics  # noqa: E402

SIZES = {"pets": (768, 576), "highway": (320, 240)}
HAND_COUNTED = {90: 17, 120: 17, 160: 16, 200: 16}
"""Row of the picture -> vehicles that cross it in the 1,100 frames of highway, counted by eye in pictures of that row over time
(x of the row against frame number: each vehicle is one shape)."""


@dataclass(frozen=True)
class Made:
    """What a detector made of a sequence."""

    sequence: Sequence
    frames: Frames
    found: Detections
    confident: float


def made(sequence: Sequence, detector: str, hz: float, keep: Path | None) -> Made:
    """Detections of the sequence's one class, from the folder if they are there."""
    file = keep / f"{sequence.name}-{detector}-{hz:g}.npz" if keep else None
    if file and file.exists():
        kept = np.load(file)
        frames = Frames(*(kept[name] for name in ("frame_time_us", "looked", "to_reference")))
        found = Detections(*(kept[name] for name in Detections.__slots__))
        return Made(sequence, frames, found, float(kept["confident"]))
    with tempfile.TemporaryDirectory() as root:
        options = {**sequence.options, "detector": detector, "detect_hz": hz, "dedup": "off"}
        work, items = sized(Path(root), sequence.files, **options)
        frames, found, values = seen(work, items)
    rows = np.isin(found.label, [LABELS.index(name) for name in sequence.labels])
    found = Detections(*(getattr(found, name)[rows] for name in Detections.__slots__))
    confident = float(values[0]["confident"])
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        columns = {name: getattr(found, name) for name in Detections.__slots__}
        shape = {"frame_time_us": frames.time_us, "looked": frames.looked, "to_reference": frames.to_reference}
        np.savez_compressed(file, confident=confident, **shape, **columns)
    return Made(sequence, frames, found, confident)


def table(tracks: Tracks, size: tuple[int, int]) -> Table:
    """Rows of tracks, clipped to the frame."""
    box = np.clip(tracks.box.astype(np.float64), 0, [*size, *size])
    inside = (box[:, 2:] > box[:, :2]).all(1)
    return tracks.frame[inside], tracks.id[inside].astype(np.int64), box[inside]


def people() -> Table:
    """The truth of PETS, with ids."""
    rows = np.loadtxt(DATA / "pets" / "gt.txt", delimiter=",")
    rows = rows[rows[:, 6] != 0]
    corner = rows[:, 2:4] - 1
    return rows[:, 0].astype(int) - 1, rows[:, 1].astype(int), np.concatenate([corner, corner + rows[:, 4:6]], axis=1)


def as_tracks(given: Table, frames: Frames) -> Tracks:
    """A table as `Tracks`, to count with."""
    frame, identity, box = (column[np.lexsort((given[1], given[0]))] for column in given)
    n = len(frame)
    return Tracks(
        time_us=frames.time_us[frame], frame=frame, id=identity.astype(np.int32), label=np.zeros(n, np.uint8),
        score=np.ones(n, np.float32), box=box.astype(np.float32), state=np.full(n, State.SEEN, np.uint8),
        foot=np.stack([(box[:, 0] + box[:, 2]) / 2, box[:, 3]], axis=1), velocity=np.zeros((n, 2)),
        jitter=np.ones(n, np.float32),
    )  # fmt: skip


def scores(truth: Table, given: Table) -> dict[str, float]:
    """MOTA, IDF1, HOTA (mean over overlaps of 0.05 to 0.95) and counts of errors, at IoU 0.5."""
    a, b = _frame_table(truth), _frame_table(given)
    host = motmetrics.metrics.create()
    accumulated = motmetrics.utils.compare_to_groundtruth(a, b, "iou", distth=0.5)
    wanted = ["mota", "idf1", "num_switches", "num_false_positives", "num_misses", "num_unique_objects"]
    plain = host.compute(accumulated, metrics=wanted).iloc[0]
    whole, found, kept = hota(truth, given)
    return {**plain.to_dict(), "hota": whole, "deta": found, "assa": kept}


def _frame_table(given: Table) -> pd.DataFrame:
    frame, identity, box = given
    columns = {
        "FrameId": frame + 1, "Id": identity, "X": box[:, 0], "Y": box[:, 1], "Width": box[:, 2] - box[:, 0],
        "Height": box[:, 3] - box[:, 1], "Confidence": np.ones(len(frame)),
    }  # fmt: skip
    return pd.DataFrame(columns).set_index(["FrameId", "Id"]).sort_index()


def across(size: tuple[int, int]) -> dict[str, Line]:
    """Ten lines through the whole picture: five upright, three level, both diagonals."""
    width, height = size
    upright = {
        f"x {share:.2f}": ((width * share, 0.0), (width * share, float(height))) for share in (0.2, 0.35, 0.5, 0.65, 0.8)
    }
    level = {f"y {share:.2f}": ((0.0, height * share), (float(width), height * share)) for share in (0.4, 0.5, 0.6)}
    corners = {"falling": ((0.0, 0.0), (float(width), float(height))), "rising": ((0.0, float(height)), (float(width), 0.0))}
    return {**upright, **level, **corners}


def crossing_error(truth: Tracks, tracks: Tracks, lines: dict[str, Line]) -> tuple[float, float, int]:
    """Differences of counts by line and way, added up, and the difference of the sums, as shares of the true sum; the sum."""
    real, told = (Counter((one.line, one.way) for one in crossings(each, lines) if one.counted) for each in (truth, tracks))
    total = sum(real.values())
    apart = sum(abs(real[line, way] - told[line, way]) for line in lines for way in WAYS)
    return apart / total, abs(total - sum(told.values())) / total, total


def on_pets(detectors: list[str], hz: float, keep: Path | None, draw: Path | None) -> None:
    truth, lines = people(), across(SIZES["pets"])
    columns = ["MOTA", "IDF1", "HOTA", "DetA", "AssA", "switches", "FP", "FN", "ids", "lines_off", "sum_off", "looks/CPU-s"]
    print("| PETS, people | " + " | ".join(columns) + " |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    for detector in detectors:
        given = made(pets(), detector, hz, keep)
        start = time.process_time()
        tracks = track(given.frames, given.found, confident=given.confident)
        spent = time.process_time() - start
        every = dense(tracks, given.frames)
        if draw:
            _draw(draw, given.sequence, every, lines)
        _pets_row(f"{detector}, Tilery", truth, table(every, SIZES["pets"]), given, lines, spent)
        for name, peer in PEERS.items():
            if importlib.util.find_spec(peer.__name__.replace("bytetrack", "trackers")) is None:
                print(f"| {detector}, {name}: not installed |")
                continue
            start = time.process_time()
            told = peer(given.frames, given.found, given.confident, hz)
            _pets_row(f"{detector}, {name}", truth, told, given, lines, time.process_time() - start)


def _pets_row(name: str, truth: Table, told: Table, given: Made, lines: dict[str, Line], cpu_s: float) -> None:
    got = scores(truth, told)
    off, sum_off, _ = crossing_error(as_tracks(truth, given.frames), as_tracks(told, given.frames), lines)
    looks = int((given.frames.looked == Looked.DETECTED).sum())
    print(
        f"| {name} | {got['mota']:.3f} | {got['idf1']:.3f} | {got['hota']:.3f} | {got['deta']:.3f} | {got['assa']:.3f} "
        f"| {got['num_switches']:.0f} | {got['num_false_positives']:.0f} | {got['num_misses']:.0f} | {len(np.unique(told[1]))} "
        f"| {off:.1%} | {sum_off:.1%} | {looks / cpu_s:,.0f} |",
        flush=True,
    )


def on_highway(detectors: list[str], hz: float, keep: Path | None, draw: Path | None) -> None:
    lines: dict[str, Line] = {str(row): ((0.0, float(row)), (320.0, float(row))) for row in HAND_COUNTED}
    print(
        "\n| highway, vehicles | detections F1 | apart | tracks F1 | apart | "
        + " | ".join(f"y {row}" for row in HAND_COUNTED)
        + " |"
    )
    print("|---|---|---|---|---|" + "---|" * len(HAND_COUNTED))
    print("| counted by eye | | | | | " + " | ".join(str(count) for count in HAND_COUNTED.values()) + " |")
    for detector in detectors:
        given = made(highway(), detector, hz, keep)
        tracks = track(given.frames, given.found, confident=given.confident)
        every = dense(tracks, given.frames)
        if draw:
            _draw(draw, given.sequence, every, lines)
        told = Counter(one.line for one in crossings(tracks, lines) if one.counted)
        strict, apart = (f1(table(every, SIZES["highway"]), given.sequence, only) for only in (False, True))
        counted = " | ".join(str(told[line]) for line in lines)
        plain = " | ".join(f"{f1(confident(given), given.sequence, only, looked(given)):.3f}" for only in (False, True))
        print(f"| {detector}, Tilery | {plain} | {strict:.3f} | {apart:.3f} | {counted} |", flush=True)


def confident(given: Made) -> Table:
    """The detections that the product says are confident, each an id of its own."""
    rows = given.found.score >= begins(given.confident)
    frame = np.searchsorted(given.frames.time_us, given.found.time_us[rows])
    return frame, np.arange(len(frame)), given.found.box[rows].astype(np.float64)


def looked(given: Made) -> set[int]:
    """The frames that went through the detector."""
    return set(np.flatnonzero(given.frames.looked == Looked.DETECTED).tolist())


def f1(told: Table, sequence: Sequence, apart: bool, only: set[int] | None = None) -> float:
    """F1 at IoU 0.5 over the frames with truth, or `only` some of them.

    `apart`: without truth boxes that hold several vehicles (`truth.single`), and without what lies in those.
    """
    counts = single(sequence.truth)
    right = wrong = wanted = 0
    for number, real in sequence.truth.items():
        if only is not None and number not in only:
            continue
        box = told[2][told[0] == number].astype(np.float32)
        counted = counts[number] if apart else np.ones(len(real), bool)
        shared, free = overlaps(box, real), np.ones(len(real), bool)
        inside = intersections(box, real) / np.maximum(areas(box)[:, None], 1e-9)
        wanted += int(counted.sum())
        for row in np.argsort(-shared.max(1, initial=0), kind="stable"):
            possible = np.where(free & counted, shared[row], -1)
            if possible.max(initial=-1) >= 0.5:
                free[possible.argmax()] = False
                right += 1
            elif not (inside[row][~counted] > 0.5).any():
                wrong += 1
    return 2 * right / max(right + wrong + wanted, 1)


def _draw(folder: Path, sequence: Sequence, tracks: Tracks, lines: dict[str, Line], most: int = 8) -> None:
    """Some frames with boxes, ids and the ways so far."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = np.linspace(0, int(tracks.frame.max(initial=0)), most).astype(int)
    with tempfile.TemporaryDirectory() as root:
        work, _ = sized(Path(root), sequence.files, **sequence.options)
        for number, picture in enumerate(decode(work.store, work.run, Clip.of(work.run.facts["clips"][0]))):
            if number in wanted:
                cv2.imwrite(str(folder / f"{sequence.name}-{number:04d}.png"), _drawn(picture.rgb(), tracks, number, lines))


def _drawn(picture: NDArray[np.uint8], tracks: Tracks, number: int, lines: dict[str, Line]) -> NDArray[np.uint8]:
    canvas = np.ascontiguousarray(picture[..., ::-1])
    for line in lines.values():
        cv2.line(canvas, *(tuple(int(side) for side in end) for end in line), (90, 90, 90), 1)
    for row in np.flatnonzero(tracks.frame == number):
        identity = int(tracks.id[row])
        colour = tuple(int(part) for part in np.random.default_rng(identity).integers(80, 255, 3))
        way = tracks.foot[(tracks.id == identity) & (tracks.frame <= number)]
        cv2.polylines(canvas, [np.round(way).astype(np.int32)], False, colour, 1, cv2.LINE_AA)
        left, top, right, bottom = (int(side) for side in np.round(tracks.box[row]))
        cv2.rectangle(canvas, (left, top), (right, bottom), colour, 1 if tracks.state[row] == State.BRIDGED else 2)
        cv2.putText(canvas, str(identity), (left, top - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, 1, cv2.LINE_AA)
    return canvas


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--detectors", default="auto,nanodet,centernet")
    parser.add_argument("--hz", type=float, default=5.0)
    parser.add_argument("--keep", type=Path, help="a folder where detections are kept")
    parser.add_argument("--draw", type=Path, help="a folder for some frames with tracks drawn")
    given = parser.parse_args()
    on_pets(given.detectors.split(","), given.hz, given.keep, given.draw)
    on_highway([*given.detectors.split(","), "motion"], given.hz, given.keep, given.draw)


if __name__ == "__main__":
    main()
