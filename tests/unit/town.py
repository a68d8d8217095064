"""A small town made of points: a slope, houses at an angle, one with a courtyard, trees, a pond; and runs in this process."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import rasterio

from tests import machine
from tilery import keys, manifest, publishing, sizing, whole
from tilery.run import Record
from tilery.store.directory import DirectoryStore

FOOT = 0.3048
SIDE_M = 120
WEST_M, SOUTH_M = 500_000, 5_000_000


@dataclass(frozen=True)
class House:
    """A flat roof `width` x `depth` metres around (x, y), turned by `degrees`, with a courtyard half as large if told."""

    x: float
    y: float
    width: float
    depth: float
    degrees: float
    height: float
    court: bool = False

    def holds(self, x: np.ndarray, y: np.ndarray, scale: float = 1.0) -> np.ndarray:
        turn = np.radians(self.degrees)
        along = (x - self.x) * np.cos(turn) + (y - self.y) * np.sin(turn)
        across = (y - self.y) * np.cos(turn) - (x - self.x) * np.sin(turn)
        inside = (abs(along) <= scale * self.width / 2) & (abs(across) <= scale * self.depth / 2)
        return inside & ~(self.court & self.holds(x, y, 0.5)) if self.court and scale == 1.0 else inside


HOUSES = (House(30, 30, 20, 12, 30, 6), House(80, 35, 14, 14, 0, 5), House(75, 85, 26, 22, 10, 8, court=True))
POND = (25, 90, 14)


def town(epsg: int | None = 32632, foot: bool = False, density: float = 4.0, point_format: int = 7, seed: int = 3) -> bytes:
    """A LAZ file with class 2 for ground and 6 for roofs; in feet if told."""
    random = np.random.default_rng(seed)
    count = int(SIDE_M**2 * density)
    x, y = random.uniform(0.5, SIDE_M - 0.5, (2, count))
    dry = np.hypot(x - POND[0], y - POND[1]) > POND[2]
    x, y = x[dry], y[dry]
    ground = 100 + 0.05 * x + 3 * np.sin(y / 25)
    z, label = ground + random.normal(0, 0.02, len(x)), np.full(len(x), 2)
    for house in HOUSES:
        on = house.holds(x, y)
        z[on], label[on] = ground[on].mean() + house.height + random.normal(0, 0.02, int(on.sum())), 6
    first = np.ones(len(x), np.uint8)
    total = np.ones(len(x), np.uint8)
    crown = (np.hypot(x - 105, y - 60) < 7) & (random.random(len(x)) < 0.6)
    z[crown], label[crown], total[crown] = ground[crown] + random.uniform(3, 11, int(crown.sum())), 5, 2
    header = laspy.LasHeader(point_format=point_format, version="1.4")
    unit = FOOT if foot else 1.0
    header.scales, header.offsets = np.full(3, 0.001), np.array([WEST_M, SOUTH_M, 0.0]) / unit
    header.creation_date = date(2020, 5, 4)
    if epsg is not None:
        header.global_encoding.wkt = True
        header.vlrs.append(laspy.vlrs.known.WktCoordinateSystemVlr(rasterio.crs.CRS.from_epsg(epsg).to_wkt()))
    las = laspy.LasData(header)
    las.x, las.y, las.z = (WEST_M + x) / unit, (SOUTH_M + y) / unit, z / unit
    las.classification, las.return_number, las.number_of_returns = label, first, total
    las.intensity = np.where(label == 6, 900, 300) + random.integers(0, 50, len(x))
    if "red" in las.point_format.dimension_names:
        las.red, las.green, las.blue = ((label * 9_000 + 500 * band) % 65_536 for band in range(3))
    out = io.BytesIO()
    las.write(out, do_compress=True)
    return out.getvalue()


@dataclass(frozen=True)
class Ended:
    """A run of point clouds that is over."""

    store: DirectoryStore
    record: Record
    root: Path

    @property
    def folder(self) -> Path:
        return self.root / keys.result("acme", "pointcloud", self.record.dataset, self.record.run_id)

    @cached_property
    def products(self) -> dict[str, str]:
        """Path -> digest."""
        return {product.path: product.digest["value"] for product in self.record.products}

    @cached_property
    def kinds(self) -> set[str]:
        return {product.kind for product in self.record.products}

    def path(self, name: str) -> Path:
        return self.folder / name


def run(root: Path, files: Mapping[str, bytes], lane: str = "lambda", **options: Any) -> Ended:
    """Drop files as the dataset `town`, in a root of its own below this one, and do every stage here."""
    root = root / f"root{sum(1 for _ in root.glob('root*'))}"
    store = DirectoryStore(root)
    folder = "drop/acme/pointcloud/town"
    for name, data in files.items():
        store.put(f"{folder}/{name}", data)
    store.put(f"{folder}/{keys.READY}", json.dumps({"options": {"lane": lane, **options}}).encode())
    entry = store.head(f"{folder}/{keys.READY}")
    assert entry is not None
    run_id = manifest.receive(store, "drop", f"{folder}/{keys.READY}", entry.version).run_id
    sizing.size(store, "acme", run_id)
    if lane == "lambda":
        whole.whole(store, "acme", run_id)
    else:
        machine.every_stage(store, run_id)
    return Ended(store, publishing.publish(store, "acme", run_id), root)
