"""Per-pixel trends of dated satellite rasters. Each verb is a module of its own, imported when used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from tilery.run import Source
from tilery.store.port import Store
from tilery.workload import ALL, Item, Publication, Published, Sizing, Stage, StageName, Work, Workload
from tilery.workloads.trend.options import TrendOptions

COMPUTED = (
    "band", "expression", "bands", "mask", "pattern", "scale", "offset", "nodata", "valid_min", "valid_max", "start", "end",
    "epoch", "grid", "resampling", "min_observations", "harmonics", "robust", "block", "window", "precision", "alpha",
)  # fmt: skip


class Trend(Workload[TrendOptions]):
    """A window of the result's block grid takes every date; the mosaic is stitched from the windows' blocks."""

    name = "trend"
    suffixes = (".tif", ".tiff", ".gtif", ".jp2", ".nc", ".zarr.zip", ".json")
    needs = ("numpy", "scipy", "numba", "rasterio", "PIL")
    unit = "samples"
    Options = TrendOptions
    stages: ClassVar[Mapping[StageName, Stage]] = {
        "process": Stage(options=COMPUTED, work_per_job=4e9, holes=True),
        "merge": Stage(options=("series",), fan_in=ALL),
    }

    def size(self, sources: list[Source], options: TrendOptions, store: Store) -> Sizing:
        from tilery.workloads.trend.sizing import size

        return size(sources, options, store)

    def process(self, work: Work[TrendOptions], item: Item) -> dict[str, Any]:
        from tilery.workloads.trend.window import process

        return process(work, item)

    def merge(self, work: Work[TrendOptions], item: Item) -> dict[str, Any]:
        from tilery.workloads.trend.mosaic import merge

        return merge(work, item)

    def publish(self, publication: Publication[TrendOptions]) -> Published:
        from tilery.workloads.trend.products import publish

        return publish(publication)
