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

from tests.unit.runs import Result, Runs, running
from tilery.registry import EXTRA

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


class Trended(Result):
    """The products of a run, and the bands of its raster."""

    @contextmanager
    def cog(self) -> Iterator[Any]:
        with rasterio.MemoryFile(self.bytes("trend.tif")) as memory, memory.open() as dataset:
            yield dataset

    def bands(self) -> dict[str, NDArray[Any]]:
        with self.cog() as dataset:
            return dict(zip(dataset.descriptions, dataset.read(), strict=True))


TrendRuns = Runs[Trended]


@contextmanager
def trend_runs(root: Path) -> Iterator[TrendRuns]:
    with running(root, **TREND) as store:
        yield Runs(store, "trend", {}, Trended)
