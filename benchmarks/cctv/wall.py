"""How good tracks are in a large frame: MOTA, IDF1 and HOTA of people on PETS side by side, as `speed` makes it.

python -m benchmarks.cctv.wall [--videos wall1080p] [--seconds 20] [--hz 5] [--detector auto] [--folder FOLDER]

Truth is that of PETS at each place of the wall and its moment; of a box at the edge of the frame what is to be seen counts, if
that is half of it or more.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.cctv.hota import Table
from benchmarks.cctv.segments import seen, sized
from benchmarks.cctv.speed import APART, SIZES, WALL_RATE, video_of
from benchmarks.cctv.tracking import SIZES as ONE
from benchmarks.cctv.tracking import people, scores, table
from tilery.workloads.cctv.detections import Detections
from tilery.workloads.cctv.labels import LABELS
from tilery.workloads.cctv.tracker import track
from tilery.workloads.cctv.tracks import dense

SHOWN = 795
"""Frames of PETS."""
PEOPLE = 1000
"""More than PETS has ids."""


def truth(width: int, height: int, frames: int) -> Table:
    """Of the wall: frame, id, box."""
    frame, identity, box = people()
    across, down = ONE["pets"]
    there_and_back = [*range(SHOWN), *range(SHOWN - 2, 0, -1)]
    columns = -(-width // across)
    parts: list[Table] = []
    for place in range(columns * -(-height // down)):
        row, column = divmod(place, columns)
        for number in range(frames):
            rows = np.flatnonzero(frame == there_and_back[(number + APART * place) % len(there_and_back)])
            whole = box[rows] + np.tile([column * across, row * down], 2)
            # what lies beyond its own picture is not shown by the neighbour
            limits = [min(width, (column + 1) * across), min(height, (row + 1) * down)] * 2
            clipped = np.clip(whole, [column * across, row * down] * 2, limits)
            shown = np.prod(clipped[:, 2:] - clipped[:, :2], 1) >= 0.5 * np.prod(whole[:, 2:] - whole[:, :2], 1)
            parts.append((np.full(shown.sum(), number), identity[rows][shown] + place * PEOPLE, clipped[shown]))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--videos", default="wall1080p")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--hz", type=float, default=5.0)
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "tilery-cctv-speed")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    print("| | MOTA | IDF1 | HOTA | switches | FP | FN | ids |\n|---|---|---|---|---|---|---|---|")
    for name in given.videos.split(","):
        size = SIZES[name.removeprefix("wall")]
        video = video_of(given.folder, name, given.seconds)
        with tempfile.TemporaryDirectory(dir=given.folder) as root:
            work, items = sized(Path(root), [video], detector=given.detector, detect_hz=given.hz, dedup="off")
            frames, found, values = seen(work, items)
        rows = np.isin(found.label, [LABELS.index(one) for one in ("person", "moving")])
        found = Detections(*(getattr(found, column)[rows] for column in Detections.__slots__))
        tracks = track(frames, found, confident=values[0]["confident"])
        every = table(dense(tracks, frames), size)
        got = scores(truth(*size, given.seconds * WALL_RATE), every)
        print(
            f"| {name} | {got['mota']:.3f} | {got['idf1']:.3f} | {got['hota']:.3f} | {got['num_switches']:.0f} "
            f"| {got['num_false_positives']:.0f} | {got['num_misses']:.0f} | {len(np.unique(every[1]))} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
