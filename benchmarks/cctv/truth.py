"""The two real sequences and their truth, as times and boxes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

DATA = Path(os.environ.get("TILERY_TEST_DATA", Path(__file__).parents[2].parent / "shared" / "data")) / "cctv"
Boxes = NDArray[np.float32]


@dataclass(frozen=True)
class Sequence:
    name: str
    files: list[Path]
    options: dict[str, Any]
    hz: float
    labels: tuple[str, ...]
    """The labels that its one class may have."""
    truth: dict[int, Boxes]
    """Frame number from 0 -> (n, 4) left, top, right, bottom; frames that are not in it have no truth."""


def pets() -> Sequence:
    """PETS09-S2L1 with the people of MOT15."""
    rows = np.loadtxt(DATA / "pets" / "gt.txt", delimiter=",")
    rows = rows[rows[:, 6] != 0]
    box = np.concatenate([rows[:, 2:4] - 1, rows[:, 2:4] - 1 + rows[:, 4:6]], 1).astype(np.float32)
    truth = {number: box[rows[:, 0] == number + 1] for number in range(795)}
    return Sequence("pets", [DATA / "pets" / "vtest.avi"], {}, 10.0, ("person", "moving"), truth)


def highway() -> Sequence:
    """CDnet 2014 highway with the boxes of what moves, from its 470th frame on."""
    rows = np.loadtxt(DATA / "highway" / "gt_boxes.csv", delimiter=",", skiprows=1)
    files = sorted((DATA / "highway" / "frames").glob("*.jpg"))
    truth = {number: rows[rows[:, 0] == number + 1][:, 1:5].astype(np.float32) for number in range(469, len(files))}
    return Sequence(
        "highway", files, {"frame_hz": 30.0}, 30.0, ("car", "truck", "bus", "motorcycle", "bicycle", "moving"), truth
    )


def single(truth: dict[int, Boxes]) -> dict[int, NDArray[np.bool_]]:
    """Which boxes hold one thing. The truth of highway was made of masks: vehicles that touch in the picture are one box.

    Such a box is much larger than the others at its height in the picture (more than twice the median area of the boxes whose
    lower edge is near its own), which is judged from the truth alone.
    """
    every = np.concatenate(list(truth.values()))
    sides = every[:, 2:] - every[:, :2]
    area, bottom = sides[:, 0] * sides[:, 1], every[:, 3]

    def alone(box: NDArray[np.float32]) -> bool:
        near = area[np.abs(bottom - box[3]) <= 6]
        return bool((box[2] - box[0]) * (box[3] - box[1]) <= 1.7 * np.median(near))

    return {number: np.array([alone(box) for box in boxes], bool) for number, boxes in truth.items()}
