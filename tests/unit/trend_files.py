"""Small dated rasters, and runs of the trend workload on them by the library alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine, from_origin

from tests import machine
from tests.toys import environment
from tilery import keys, manifest, publishing, registry, sizing, whole
from tilery.registry import EXTRA
from tilery.store import open_store
from tilery.store.port import Store

TREND = {EXTRA: json.dumps({"trend": "tilery.workloads.trend.workload:Trend"})}
HERE = from_origin(500000, 5000000, 10, 10)


def write(
    path: Path,
    values: NDArray[Any],
    *,
    transform: Affine = HERE,
    crs: str | None = "EPSG:32633",
    nodata: float | None = None,
    scale: float = 1.0,
    offset: float = 0.0,
    tags: Mapping[str, str] | None = None,
    names: Sequence[str] = (),
    **more: Any,
) -> Path:
    """A GeoTIFF of (rows, columns) or (bands, rows, columns)."""
    layers = values if values.ndim == 3 else values[None]
    count, height, width = layers.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": values.dtype, "crs": crs, **more}
    with rasterio.open(path, "w", transform=transform, nodata=nodata, **profile) as target:
        target.write(layers)
        target.scales, target.offsets = [scale] * count, [offset] * count
        target.update_tags(**(tags or {}))
        for number, name in enumerate(names, 1):
            target.set_band_description(number, name)
    return path


def days_apart(dates: Sequence[date]) -> NDArray[np.int64]:
    return np.array([(day - dates[0]).days for day in dates])


class Runs:
    """Drops files and runs them; every run is its own dataset."""

    def __init__(self, store: Store) -> None:
        self.store, self._count = store, 0

    def drop(self, files: Sequence[Path] | Mapping[str, Path], options: Mapping[str, Any]) -> str:
        """The run id of a new dataset with these files."""
        self._count += 1
        folder = f"drop/acme/trend/set{self._count}"
        named = files if isinstance(files, Mapping) else {path.name: path for path in files}
        for name, path in named.items():
            self.store.upload(str(path), f"{folder}/{name}")
        key = f"{folder}/{keys.READY}"
        self.store.put(key, json.dumps({"options": options}).encode())
        entry = self.store.head(key)
        assert entry is not None
        return manifest.receive(self.store, "drop", key, entry.version).run_id

    def run(self, files: Sequence[Path] | Mapping[str, Path], lane: str = "lambda", **options: Any) -> Result:
        run_id = self.drop(files, {"lane": lane, **options})
        sizing.size(self.store, "acme", run_id)
        if lane == "lambda":
            whole.whole(self.store, "acme", run_id)
        else:
            machine.every_stage(self.store, run_id)
        return Result(self.store, publishing.publish(self.store, "acme", run_id))


class Result:
    """The products of a run."""

    def __init__(self, store: Store, record: Any) -> None:
        self.record = record
        self._store = store
        self._folder = keys.result("acme", "trend", record.dataset, record.run_id)

    def bytes(self, path: str) -> bytes:
        return self._store.get(f"{self._folder}/{path}")

    def json(self, path: str) -> Any:
        return json.loads(self.bytes(path))

    @contextmanager
    def cog(self) -> Iterator[Any]:
        with rasterio.MemoryFile(self.bytes("trend.tif")) as memory, memory.open() as dataset:
            yield dataset

    def bands(self) -> dict[str, NDArray[Any]]:
        with self.cog() as dataset:
            return dict(zip(dataset.descriptions, dataset.read(), strict=True))


@contextmanager
def trend_runs(root: Path) -> Iterator[Runs]:
    with environment({**TREND, "TILERY_STORE": root.as_uri()}):
        registry.load.cache_clear()
        yield Runs(open_store("acme"))
