"""Point clouds: classify LAS and LAZ files, and model their terrain. Each verb is a module of its own, imported when used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from tilery.run import Source
from tilery.store.port import Store
from tilery.workload import Done, Item, Publication, Published, Sizing, Stage, StageName, Work, Workload
from tilery.workloads.pointcloud.options import PointCloudOptions


class PointCloud(Workload[PointCloudOptions]):
    """Shards are cut into fragments per ground tile; tiles are classified; shards collect their labels and are rewritten."""

    name = "pointcloud"
    suffixes = (".las", ".laz")
    needs = ("numpy", "scipy", "laspy", "lazrs", "rasterio", "PIL", "shapely")
    gpu = "cupy"
    unit = "points"
    Options = PointCloudOptions
    stages: ClassVar[Mapping[StageName, Stage]] = {
        "tile": Stage(options=("tile_area_km2", "shard_mib", "ground", "resolution_m", "products"), work_per_job=20e6),
        "process": Stage(options=("objects", "keep", "evidence", "learned"), work_per_job=50e6, holes=True),
        "merge": Stage(fan_in=64, work_per_job=64),
        "finish": Stage(options=("fill_m", "contour_m", "upgrade"), work_per_job=20e6),
    }

    def size(self, sources: list[Source], options: PointCloudOptions, store: Store) -> Sizing:
        from tilery.workloads.pointcloud.sizing import size

        return size(sources, options, store)

    def items(self, work: Work[PointCloudOptions], before: list[Done]) -> Iterable[Item]:
        from tilery.workloads.pointcloud import lists

        return lists.tiles(before) if work.stage == "process" else lists.finishes(work, before)

    def tile(self, work: Work[PointCloudOptions], item: Item) -> dict[str, Any]:
        from tilery.workloads.pointcloud.heap import keep_freed_pages
        from tilery.workloads.pointcloud.tiling import tile

        keep_freed_pages()
        return tile(work, item)

    def process(self, work: Work[PointCloudOptions], item: Item) -> dict[str, Any]:
        from tilery.workloads.pointcloud.classify import process
        from tilery.workloads.pointcloud.heap import keep_freed_pages

        keep_freed_pages()
        return process(work, item)

    def merge(self, work: Work[PointCloudOptions], item: Item) -> dict[str, Any]:
        from tilery.workloads.pointcloud.merging import merge

        return merge(work, item)

    def finish(self, work: Work[PointCloudOptions], item: Item) -> dict[str, Any]:
        from tilery.workloads.pointcloud.finishing import finish

        return finish(work, item)

    def publish(self, publication: Publication[PointCloudOptions]) -> Published:
        from tilery.workloads.pointcloud.products import publish

        return publish(publication)

    def whole(self, work: Work[PointCloudOptions], items: list[Item]) -> list[Done]:
        from tilery.workloads.pointcloud.heap import keep_freed_pages
        from tilery.workloads.pointcloud.whole import whole

        keep_freed_pages()
        return whole(work, items)
