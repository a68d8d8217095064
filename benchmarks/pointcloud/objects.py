"""Accuracy of the classes above ground on samples with a production classification, one default parameter set for all.

python -m benchmarks.pointcloud.objects [--data DIR] [--set KEY=VALUE]... [--confusion] [--leave-one-out] [--whitebox] [--tiled]

Intersection over union (IoU) of ground (2), vegetation (3, 4, 5 together), building (6) and water (9), over all points of a
sample, those included that the reference leaves unclassified. With `--leave-one-out`, each file is scored with the options of
`CHOICES` that are best on all others of its kind; with `--whitebox`, whitebox-workflows' `classify_lidar` runs beside us
(`pip install whitebox-workflows`); with `--tiled`, the labels of small tiles are compared with those of one tile, point by
point.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import numpy.typing as npt

from tilery.options import from_text
from tilery.workloads.pointcloud import deciding, fragments, regions
from tilery.workloads.pointcloud.classify import classify
from tilery.workloads.pointcloud.fragments import Fragment
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import TileGrid, tile_id, to_millimetres
from tilery.workloads.pointcloud.ground import halo_cells
from tilery.workloads.pointcloud.objects import REACH
from tilery.workloads.pointcloud.options import PointCloudOptions

Labels = npt.NDArray[np.uint8]
GROUPS = {"ground": (2,), "vegetation": (3, 4, 5), "building": (6,), "water": (9,), "wire": (14,)}
KINDS = {
    "IGN": [
        f"ignpt_test_data_{name}_LA93_IGN69.laz"
        for name in ("77050_627755", "77050_627760", "77055_627755", "77055_627760", "77060_627755", "77060_627760")
    ],
    "other": [
        "ignpt_las_with_several_extra_byte_bloc.laz",
        "lidRbook_building_WilliamsAZ_Urban_normalized.laz",
        "laspy_file_with_both_wkt_and_geotiff_vlrs.las",
        "lidRbook_wires.laz",
    ],
    "water": ["lidR_Topography.laz"],
}
CHOICES = [
    {"rough_m": rough, "depth_m": depth, "grass_m": grass, "passed_share": passed}
    for rough in (0.06, 0.08, 0.1)
    for depth in (0.5, 0.7, 1.0)
    for grass in (0.15, 0.2)
    for passed in (0.3, 0.5)
]
WHOLE = 20_000
"""Side in cells of a tile that holds any sample."""


def read(path: Path) -> tuple[Fragment, Labels]:
    """The points of a file in metres, and its classification."""
    las = laspy.read(path)
    stored = zip((las.X, las.Y, las.Z), las.header.scales, las.header.offsets, strict=True)
    x, y, z = (to_millimetres(np.asarray(column), scale, offset) for column, scale, offset in stored)
    returns = fragments.pack_returns(np.asarray(las.return_number), np.asarray(las.number_of_returns))
    truth = np.asarray(las.classification).astype(np.uint8)
    return Fragment(0, x, y, z.astype(np.int32), returns, np.arange(len(x), dtype=np.uint32), np.zeros_like(truth)), truth


def labels_of(points: Fragment, options: PointCloudOptions, side: int = WHOLE, origin: tuple[int, int] = (0, 0)) -> Labels:
    """Classes of all points, from tiles of `side` cells."""
    grid = TileGrid(1000, side, origin)
    frame = Frame(1.0, 1.0, grid, halo_cells(options.ground) + REACH, 1000)
    told = fragments.of_several(points.returns) * 1000 >= len(points)
    labels, open_regions, refused, waiting = np.zeros(len(points), np.uint8), [], [], []
    for tile, members in grid.members(points.x, points.y, frame.halo):
        found = classify(points.take(members), tile, frame, options, "cpu", told=told)
        owned = found.labels != 0
        labels[members[owned]] = found.labels[owned]
        open_regions += found.open
        refused.append(found.refused)
        waiting.append((tile_id(tile), members, found))
    done = regions.merged([], open_regions, options.objects, grid, last=True)
    decided = regions.joined([*refused, done.refused])
    for name, members, found in waiting:
        owned = found.labels != 0
        final = deciding.final(found.labels, found.otherwise, found.numbers, decided.get(name, []))
        labels[members[owned]] = final[owned]
    return labels


def overlap(truth: Labels, found: Labels, classes: tuple[int, ...]) -> float:
    """Intersection over union in percent; not a number where the reference has none of these classes."""
    right, said = np.isin(truth, classes), np.isin(found, classes)
    return float(100 * (right & said).sum() / (right | said).sum()) if right.any() else float("nan")


def confusion(truth: Labels, found: Labels) -> str:
    """A row for each class of the reference, a column for each that was found."""
    rows, columns = np.unique(truth), np.unique(found)
    lines = ["| reference | " + " | ".join(map(str, columns)) + " |", "|---" * (len(columns) + 1) + "|"]
    for row in rows:
        counts = (f"{int(((truth == row) & (found == column)).sum()):,}" for column in columns)
        lines.append(f"| {row} | " + " | ".join(counts) + " |")
    return "\n".join(lines)


def whitebox(path: Path) -> tuple[Labels, float]:
    """Classes by whitebox-workflows with its defaults, in the order of the file, and CPU seconds."""
    from whitebox_workflows import WbEnvironment

    environment = WbEnvironment()
    environment.verbose = False
    with tempfile.TemporaryDirectory() as folder:
        plain, out = Path(folder) / "in.las", Path(folder) / "out.las"
        las = laspy.read(path)
        las.classification[:] = 0
        las = laspy.convert(las, point_format_id=1, file_version="1.2")
        las.vlrs.clear()
        las.write(plain)
        started = time.process_time()
        environment.lidar.classify_lidar(input=str(plain), output=str(out))
        seconds = time.process_time() - started
        after = laspy.read(out)
    return np.asarray(after.classification).astype(np.uint8), seconds


def line(name: str, what: str, points: int, cpu_s: float, scores: list[float]) -> str:
    figures = " | ".join("" if np.isnan(score) else f"{score:.1f}" for score in scores)
    return f"| {name} | {what} | {points:,} | {points / max(cpu_s, 1e-9) / 1e6:.2f} | {figures} |"


def scores_of(truth: Labels, found: Labels) -> list[float]:
    return [overlap(truth, found, classes) for classes in GROUPS.values()]


def leave_one_out(files: list[Path], options: PointCloudOptions) -> None:
    """Ground, vegetation and building of each file with the choice that is best on the others."""
    print("\n| file left out | " + " | ".join(list(GROUPS)[:3]) + " | mean | mean with the defaults |\n" + "|---" * 6 + "|")
    samples = {path: read(path) for path in files}
    options = options.model_copy(update={"learned": False})  # the trees have seen these files; see train.py
    table: dict[Path, list[list[float]]] = {path: [] for path in files}
    for choice in CHOICES:
        tried = options.model_copy(update={"objects": options.objects.model_copy(update=choice)})
        for path, (points, truth) in samples.items():
            table[path].append(scores_of(truth, labels_of(points, tried))[:3])
    for path, (points, truth) in samples.items():
        others = [np.mean([table[other][number] for other in files if other != path]) for number in range(len(CHOICES))]
        mine = table[path][int(np.argmax(others))]
        default = np.mean(scores_of(truth, labels_of(points, options))[:3])
        print(f"| {path.name} | " + " | ".join(f"{score:.1f}" for score in mine) + f" | {np.mean(mine):.1f} | {default:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description="Accuracy of the classes above ground.")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("TILERY_TEST_DATA", "../shared/data")))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="an option of `objects`")
    parser.add_argument("--confusion", action="store_true")
    parser.add_argument("--leave-one-out", action="store_true")
    parser.add_argument("--whitebox", action="store_true")
    parser.add_argument("--tiled", action="store_true")
    asked = parser.parse_args()
    changes: dict[str, Any] = from_text(asked.set)
    options = PointCloudOptions.model_validate({"objects": changes})
    print("| file | what | points | M points / CPU s | " + " | ".join(GROUPS) + " |\n" + "|---" * (4 + len(GROUPS)) + "|")
    for kind, names in KINDS.items():
        files = [path for name in names if (path := asked.data / "pointcloud" / "samples" / name).exists()]
        ours: list[list[float]] = []
        tables = []
        for path in files:
            points, truth = read(path)
            started = time.process_time()
            found = labels_of(points, options)
            seconds = time.process_time() - started
            ours.append(scores_of(truth, found))
            print(line(path.name, "tilery", len(points), seconds, ours[-1]), flush=True)
            tables.append(f"\n{path.name}\n\n{confusion(truth, found)}")
            if asked.whitebox:
                labels, seconds = whitebox(path)
                print(line(path.name, "whitebox", len(points), seconds, scores_of(truth, labels)), flush=True)
            if asked.tiled:
                for side, origin in ((16, (0, 0)), (31, (7, 11)), (60, (-13, 5))):
                    differ = int((labels_of(points, options, side, origin) != found).sum())
                    print(f"| {path.name} | tiles of {side} cells at {origin} | {differ} labels differ |", flush=True)
        if kind == "IGN" and ours:
            print(f"| mean of {kind} | tilery | | | " + " | ".join(f"{score:.1f}" for score in np.mean(ours, 0)[:3]) + " | |")
            if asked.leave_one_out:
                leave_one_out(files, options)
        if asked.confusion:
            print("\n".join(tables))


if __name__ == "__main__":
    main()
