"""How good detections are: F1 at IoU 0.5 on PETS (people) and highway (moving vehicles), and what they cost.

python -m benchmarks.cctv.detectors [--detectors auto,nanodet,centernet,motion] [--sequences pets,highway] [--draw FOLDER]

`best` is the F1 of the best threshold and `at` that threshold; `confident` is the F1 at the score from which on a detection
counts as such. `apart` leaves out truth boxes that hold several vehicles (see `truth.single`) and what is found inside them.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.cctv.segments import seen, sized
from benchmarks.cctv.truth import Boxes, Sequence, highway, pets, single
from tilery.workloads.cctv.clips import Clip
from tilery.workloads.cctv.decode import decode
from tilery.workloads.cctv.frames import Looked
from tilery.workloads.cctv.labels import LABELS
from tilery.workloads.cctv.nms import areas, intersections, overlaps

Scored = dict[int, tuple[Boxes, NDArray[np.float32]]]


@dataclass(frozen=True)
class Scores:
    score: NDArray[np.float32]
    true: NDArray[np.bool_]
    wanted: int

    def at(self, threshold: float) -> tuple[float, float, float]:
        """F1, precision and recall of what has at least this score."""
        kept = self.score >= threshold
        right = int(self.true[kept].sum())
        precision, recall = right / max(1, int(kept.sum())), right / max(1, self.wanted)
        return 2 * precision * recall / max(precision + recall, 1e-9), precision, recall

    def best(self) -> float:
        """The threshold with the highest F1."""
        return float(max(np.unique(self.score), key=lambda one: self.at(one)[0], default=0.0))


def matched(
    found: Scored, truth: dict[int, Boxes], counts: dict[int, NDArray[np.bool_]] | None = None, iou: float = 0.5
) -> Scores:
    """Each detection, by falling score, takes the free truth box it overlaps most, as in the COCO evaluation.

    Truth that does not count, and detections that lie in it and match no other, are left out.
    """
    score, true, wanted = [], [], 0
    for number, (box, scores) in found.items():
        real = truth[number]
        counted = counts[number] if counts else np.ones(len(real), bool)
        wanted += int(counted.sum())
        table, free = overlaps(box, real), np.ones(len(real), bool)
        inside = intersections(box, real) / np.maximum(areas(box)[:, None], 1e-9)
        for row in np.argsort(-scores, kind="stable"):
            open_ = np.where(free & counted, table[row], -1)
            if len(real) and open_.max() >= iou:
                free[open_.argmax()] = False
                score.append(scores[row])
                true.append(True)
            elif not (inside[row][~counted] > 0.5).any():
                score.append(scores[row])
                true.append(False)
    return Scores(np.array(score, np.float32), np.array(true, bool), wanted)


def measure(sequence: Sequence, detector: str, draw: Path | None) -> str:
    with tempfile.TemporaryDirectory() as root:
        work, items = sized(Path(root), sequence.files, detector=detector, **sequence.options)
        before, start = time.process_time(), time.perf_counter()
        frames, found, values = seen(work, items)
        cpu, wall = time.process_time() - before, time.perf_counter() - start
        number = np.rint(frames.time_us * sequence.hz / 1e6).astype(int)
        labels = [LABELS.index(name) for name in sequence.labels]
        scored: Scored = {}
        for place in np.flatnonzero(np.isin(frames.looked, [Looked.DETECTED])):
            if int(number[place]) in sequence.truth:
                rows = (found.time_us == frames.time_us[place]) & np.isin(found.label, labels)
                scored[int(number[place])] = found.box[rows], found.score[rows]
        if draw:
            pictures = {
                round(one.time_us * sequence.hz / 1e6): one
                for one in decode(work.store, work.run, Clip.of(work.run.facts["clips"][0]))
            }
            for which in list(scored)[:: max(1, len(scored) // 6)]:
                _draw(
                    draw / f"{sequence.name}-{detector}-{which:04d}.png",
                    pictures[which].rgb(),
                    scored[which],
                    sequence.truth[which],
                    values[0]["confident"],
                )
    every, confident = matched(scored, sequence.truth), values[0]["confident"]
    best, calls = every.best(), sum(value["detector_calls"] for value in values)
    told = [f"{sequence.name:8} {detector:10} best {every.at(best)[0]:.3f} at {best:.2f}, confident {_three(every, confident)}"]
    if sequence.name == "highway":
        apart = matched(scored, sequence.truth, single(sequence.truth))
        told.append(f"apart best {apart.at(apart.best())[0]:.3f} confident {_three(apart, confident)}")
    told.append(f"recall of all {every.at(0)[2]:.3f}")
    told.append(f"{len(frames) / cpu:.0f} frames/CPU-s, {len(frames) / wall:.0f} frames/s, {calls} calls of the detector")
    return "; ".join(told)


def _three(scores: Scores, threshold: float) -> str:
    return "{:.3f} (P {:.3f} R {:.3f})".format(*scores.at(threshold))


def _draw(
    path: Path, picture: NDArray[np.uint8], found: tuple[Boxes, NDArray[np.float32]], truth: Boxes, confident: float
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas = np.ascontiguousarray(picture[..., ::-1])
    for box in truth:
        cv2.rectangle(canvas, *_corners(box), (0, 255, 0), 1)
    for box, score in zip(*found, strict=True):
        cv2.rectangle(canvas, *_corners(box), (0, 0, 255) if score >= confident else (255, 160, 0), 1)
    cv2.imwrite(str(path), canvas)


def _corners(box: NDArray[np.float32]) -> tuple[tuple[int, int], tuple[int, int]]:
    left, top, right, bottom = (round(float(side)) for side in box)
    return (left, top), (right, bottom)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--detectors", default="auto,nanodet,centernet,motion")
    parser.add_argument("--sequences", default="pets,highway")
    parser.add_argument("--draw", type=Path)
    given = parser.parse_args()
    for name in given.sequences.split(","):
        sequence = {"pets": pets, "highway": highway}[name]()
        for detector in given.detectors.split(","):
            print(measure(sequence, detector, given.draw), flush=True)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
