"""A made-up street of which everything is known, and runs of the CCTV workload on it by the library alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from tests.unit.runs import Result, Runs, running

WIDTH, HEIGHT, RATE, SECONDS = 320, 192, 10, 34
MOTION: dict[str, Any] = {"detector": "motion", "lines": {"middle": [[160, 191], [160, 0]]}}
"""No model; a line up the middle: who goes right crosses A->B."""


@dataclass(frozen=True)
class Walker:
    """Something striped that crosses the street: 24 x 45 pixels."""

    start_s: float
    y: int
    speed: float
    """Pixels a second; to the left below 0."""

    def left(self, second: float) -> float:
        begin = -24.0 if self.speed > 0 else float(WIDTH)
        return begin + self.speed * (second - self.start_s)


WALKERS = (
    Walker(1, 30, 30), Walker(4, 120, 25), Walker(9, 75, -28), Walker(14, 30, 26), Walker(21, 120, -30), Walker(26, 75, 30),
)  # fmt: skip
"""They pass the middle at 7, 11, 15, 20, 26 and 32 s or so: four to the right, two to the left."""


def street() -> NDArray[np.uint8]:
    """The picture without anybody."""
    random = np.random.default_rng(8)
    coarse = random.integers(120, 200, (HEIGHT // 16, WIDTH // 16, 3)).astype(np.uint8)
    return cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def film_street(path: Path, *, seconds: int = SECONDS, codec: str = "libx264", moves: bool = False) -> Path:
    """The street with its walkers; with `moves` from a drone that drifts over it."""
    ground = cv2.resize(street(), (2 * WIDTH, 2 * HEIGHT)) if moves else street()
    random = np.random.default_rng(3)
    if moves:
        for x, y, w, h in random.integers((0, 0, 6, 6), (2 * WIDTH, 2 * HEIGHT, 30, 30), (400, 4)).tolist():
            cv2.rectangle(ground, (x, y), (x + w, y + h), random.integers(30, 220, 3).tolist(), -1)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=RATE, options={"preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt, stream.codec_context.gop_size = WIDTH, HEIGHT, "yuv420p", 20
        stream.codec_context.thread_count = 1
        for number in range(seconds * RATE):
            second = number / RATE
            dx, dy = (round(40 + 2.0 * second), round(30 + 1.2 * second)) if moves else (0, 0)
            picture = ground[dy : dy + HEIGHT, dx : dx + WIDTH].copy()
            for walker in WALKERS:
                left = round(walker.left(second))
                for stripe in range(0, 45, 3):
                    colour = (40, 30, 60) if stripe % 2 else (250, 60, 20)
                    cv2.rectangle(picture, (left, walker.y + stripe), (left + 23, walker.y + stripe + 2), colour, -1)
            noisy = picture.astype(np.int16) + random.integers(-2, 3, picture.shape)
            frame = av.VideoFrame.from_ndarray(noisy.clip(0, 255).astype(np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@contextmanager
def cctv_runs(root: Path) -> Iterator[Runs[Result]]:
    """Runs by motion alone, unless they say otherwise."""
    with running(root) as store:
        yield Runs(store, "cctv", MOTION, Result)
