"""How tracks and counts stand what cameras do: both sequences mirrored, thinned, dark, noisy, small, shaken, compressed hard.

python -m benchmarks.cctv.robustness [--only mirrored,dark] [--sequences pets,highway] [--keep FOLDER]

Each copy is encoded anew and its truth altered with it, so that what is found can be held against what is there.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.cctv.hota import Table
from benchmarks.cctv.tracking import (
    HAND_COUNTED,
    SIZES,
    Made,
    across,
    as_tracks,
    confident,
    crossing_error,
    f1,
    looked,
    made,
    people,
    scores,
    table,
)
from benchmarks.cctv.truth import Sequence, highway, pets
from tilery.workloads.cctv.counting import crossings
from tilery.workloads.cctv.nms import areas
from tilery.workloads.cctv.options import Line
from tilery.workloads.cctv.tracker import track
from tilery.workloads.cctv.tracks import dense

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
SHAKE_PX = 2.0
"""Standard deviation of where a shaken camera looks, along each axis; it forgets half of it in three frames."""


@dataclass(frozen=True)
class Copy:
    """One way to alter a sequence."""

    picture: Callable[[Pixels, int], Pixels] = lambda pixels, number: pixels
    """From an RGB picture and its number."""
    corners: Callable[[NDArray[np.float64], int, Size], NDArray[np.float64]] = lambda box, number, size: box
    """From boxes, the number of their frame and the size of the sequence, to boxes of the copy."""
    each: int = 1
    """Of so many frames one is kept, at a rate that is as much lower."""
    scale: float = 1.0
    options: dict[str, Any] = field(default_factory=dict)
    crf: int = 14
    only: str = ""
    """The sequence that it is made of, if not of both."""


def _mirrored(box: NDArray[np.float64], number: int, size: Size) -> NDArray[np.float64]:
    return np.stack([size[0] - box[:, 2], box[:, 1], size[0] - box[:, 0], box[:, 3]], axis=1)


def _dark(pixels: Pixels, number: int) -> Pixels:
    """A quarter of the light, with the noise of a sensor that makes the most of it."""
    noise = np.random.default_rng(number).normal(0, 4, pixels.shape[:2])[..., None]
    return np.clip(pixels * 0.25 + noise, 0, 255).astype(np.uint8)


def _infrared(pixels: Pixels, number: int) -> Pixels:
    """Gray, of little contrast."""
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return cv2.cvtColor((90 + gray * 0.4).astype(np.uint8), cv2.COLOR_GRAY2RGB)


def _noisy(pixels: Pixels, number: int) -> Pixels:
    noise = np.random.default_rng(number).normal(0, 15, pixels.shape)
    return np.clip(pixels + noise, 0, 255).astype(np.uint8)


def _flickering(pixels: Pixels, number: int) -> Pixels:
    """The gain of the camera goes up and down by a fifth in three seconds of PETS, one of highway."""
    return np.clip(pixels * (1 + 0.2 * np.sin(number * 2 * np.pi / 30)), 0, 255).astype(np.uint8)


def _away(number: int) -> NDArray[np.float64]:
    """Where the shaken camera is at a frame: a smoothed walk that always returns, from the numbers alone."""
    weights = 0.8 ** np.arange(16)
    steps = [np.random.default_rng(10_000 + number - back).normal(0, SHAKE_PX, 2) for back in range(16)]
    return np.asarray(weights @ np.array(steps) / np.sqrt((weights**2).sum()))


def _shaken(pixels: Pixels, number: int) -> Pixels:
    matrix = np.float32([[1, 0, _away(number)[0]], [0, 1, _away(number)[1]]])
    return cv2.warpAffine(pixels, matrix, pixels.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


def _shifted(box: NDArray[np.float64], number: int, size: Size) -> NDArray[np.float64]:
    return box + np.tile(_away(number), 2)


def _flight(number: int) -> NDArray[np.float64]:
    """(2, 3): from a picture to what a drone would see of it, which drifts, turns by some degrees and is a quarter nearer."""
    turn, zoom = np.radians(4 * np.sin(number / 70)), 1.25 + 0.05 * np.sin(number / 45)
    matrix = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.array(SIZES["pets"]) / 2
    drift = np.array([50 * np.sin(number / 60), 25 * np.sin(number / 37)])
    return np.column_stack([matrix, middle + drift - matrix @ middle])


def _flown(pixels: Pixels, number: int) -> Pixels:
    return cv2.warpAffine(pixels, _flight(number), pixels.shape[1::-1], flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)


def _flown_over(box: NDArray[np.float64], number: int, size: Size) -> NDArray[np.float64]:
    matrix = _flight(number)
    centre = (box[:, :2] + box[:, 2:]) / 2 @ matrix[:, :2].T + matrix[:, 2]
    half = (box[:, 2:] - box[:, :2]) / 2 * np.sqrt(np.linalg.det(matrix[:, :2]))
    return np.concatenate([centre - half, centre + half], axis=1)


COPIES = {
    "as it is": Copy(),
    "mirrored": Copy(lambda pixels, number: pixels[:, ::-1], _mirrored),
    "half the frames": Copy(each=2),
    "dark and noisy": Copy(_dark),
    "infrared": Copy(_infrared),
    "noisy": Copy(_noisy),
    "flickering": Copy(_flickering),
    "half the size": Copy(scale=0.5),
    "twice the size": Copy(scale=2.0),
    "shaken": Copy(_shaken, _shifted),
    "compressed hard": Copy(crf=38),
    "from a drone": Copy(_flown, _flown_over, options={"view": "drone"}, only="pets"),
}


def copied(sequence: Sequence, copy: Copy, size: Size, folder: Path) -> Path:
    """The altered sequence as one H.264 file."""
    path = folder / "copy.mp4"
    width, height = (round(side * copy.scale) // 2 * 2 for side in size)
    with av.open(str(path), "w") as output:
        rate = Fraction(sequence.hz).limit_denominator(1000) / copy.each
        stream: Any = output.add_stream("libx264", rate=rate, options={"crf": str(copy.crf), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number, pixels in enumerate(_pictures(sequence)):
            if number % copy.each:
                continue
            altered = np.ascontiguousarray(copy.picture(pixels, number))
            if copy.scale != 1:
                how = cv2.INTER_AREA if copy.scale < 1 else cv2.INTER_CUBIC
                altered = np.asarray(cv2.resize(altered, (width, height), interpolation=how), np.uint8)
            frame = av.VideoFrame.from_ndarray(altered, format="rgb24")
            frame.pts, frame.time_base = number // copy.each, 1 / rate
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def _pictures(sequence: Sequence) -> Iterator[Pixels]:
    if sequence.files[0].suffix == ".avi":
        with av.open(str(sequence.files[0])) as found:
            for frame in found.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
        return
    for file in sequence.files:
        yield np.asarray(cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB), np.uint8)


def altered(sequence: Sequence, copy: Copy, size: Size, file: Path, name: str) -> Sequence:
    """The sequence that the copy shows, with the truth of its frames."""
    truth = {
        number // copy.each: (copy.corners(box.astype(np.float64), number, size) * copy.scale).astype(np.float32)
        for number, box in sequence.truth.items()
        if number % copy.each == 0
    }
    label = f"{sequence.name}-{name.replace(' ', '-').replace(',', '')}"
    return replace(sequence, name=label, files=[file], options=copy.options, hz=sequence.hz / copy.each, truth=truth)


def truth_of(copy: Copy, size: Size) -> Table:
    """The people of PETS in the copy, those of whom it shows half or more."""
    frame, identity, box = people()
    moved = np.concatenate([copy.corners(box[at : at + 1], int(frame[at]), size) for at in range(len(frame))]) * copy.scale
    clipped = np.clip(moved, 0, np.tile(size, 2) * copy.scale)
    inside = areas(clipped.astype(np.float32)) >= 0.5 * areas(moved.astype(np.float32))
    kept = (frame % copy.each == 0) & inside
    return frame[kept] // copy.each, identity[kept], clipped[kept]


def on_pets(name: str, copy: Copy, given: Made, size: Size) -> str:
    tracks = track(given.frames, given.found, confident=given.confident)
    wide: Size = (round(size[0] * copy.scale), round(size[1] * copy.scale))
    truth, told = truth_of(copy, size), table(dense(tracks, given.frames), wide)
    got = scores(truth, told)
    off, sum_off, _ = crossing_error(as_tracks(truth, given.frames), as_tracks(told, given.frames), across(wide))
    return (
        f"| {name} | {got['mota']:.3f} | {got['idf1']:.3f} | {got['hota']:.3f} | {got['num_switches']:.0f} "
        f"| {got['num_false_positives']:.0f} | {got['num_misses']:.0f} | {off:.1%} | {sum_off:.1%} |"
    )


def on_highway(name: str, copy: Copy, given: Made, size: Size) -> str:
    tracks = track(given.frames, given.found, confident=given.confident)
    lines: dict[str, Line] = {
        str(row): ((0.0, row * copy.scale), (size[0] * copy.scale, row * copy.scale)) for row in HAND_COUNTED
    }
    told = Counter(one.line for one in crossings(tracks, lines) if one.counted)
    plain, apart = (f1(confident(given), given.sequence, only, looked(given)) for only in (False, True))
    return f"| {name} | {plain:.3f} | {apart:.3f} | " + " | ".join(str(told[line]) for line in lines) + " |"


HEADS = {
    "pets": "| PETS, people | MOTA | IDF1 | HOTA | switches | FP | FN | lines off | sum off |",
    "highway": "| highway, vehicles | detections F1 | apart | " + " | ".join(f"y {row}" for row in HAND_COUNTED) + " |",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", default=",".join(COPIES), help="names of copies")
    parser.add_argument("--sequences", default="pets,highway")
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--hz", type=float, default=5.0)
    parser.add_argument("--keep", type=Path, help="a folder where detections are kept")
    given = parser.parse_args()
    for which in given.sequences.split(","):
        sequence, size = {"pets": pets, "highway": highway}[which](), SIZES[which]
        print("\n" + HEADS[which] + "\n" + "|---" * (HEADS[which].count("|") - 1) + "|", flush=True)
        for name in given.only.split(","):
            copy = COPIES[name]
            if copy.only not in ("", which):
                continue
            with tempfile.TemporaryDirectory() as folder:
                file = copied(sequence, copy, size, Path(folder))
                got = made(altered(sequence, copy, size, file, name), given.detector, given.hz, given.keep)
            row = on_pets if which == "pets" else on_highway
            print(row(name, copy, got, size), flush=True)


if __name__ == "__main__":
    main()
