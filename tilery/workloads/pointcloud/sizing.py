"""Sizes a drop of point clouds from headers, VLRs and chunk tables alone."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.store.port import Store
from tilery.workload import Item, Sizing
from tilery.workloads.pointcloud import copc_file
from tilery.workloads.pointcloud.columns import COLOURED
from tilery.workloads.pointcloud.crs import Crs, common_crs, read_crs
from tilery.workloads.pointcloud.las_header import LasFile, read_las
from tilery.workloads.pointcloud.options import PointCloudOptions
from tilery.workloads.pointcloud.points import record_dtype
from tilery.workloads.pointcloud.shards import shards_of

READERS = 16
WHOLE_BYTES_A_POINT = 42
"""Measured peak of the whole lane (benchmarks/pointcloud/memory.py), with a fixed part for the libraries and for one tile."""
WHOLE_FIXED_MIB = 600.0
TILE_POINTS = 4_000_000
"""Where a tile of the asked area would have more points, by the headers' bounds, tiles are smaller: a worker holds one."""
LEAST_TILE_KM2 = 0.04
"""Below it most of a tile would be what it sees around itself."""


def size(sources: list[Source], options: PointCloudOptions, store: Store) -> Sizing:
    """Points, shards and coordinate system of all files. Raises `BadInput` naming the file."""
    with ThreadPoolExecutor(READERS) as pool:
        files = list(pool.map(lambda source: read_las(store, source), sources))
        systems = list(pool.map(lambda pair: read_crs(store, *pair), zip(sources, files, strict=True)))
    crs = common_crs([(file.name, system) for file, system in zip(files, systems, strict=True)])
    if crs.system is not None and not crs.projected:
        kind = "in degrees" if crs.geographic else "not in a map projection"
        raise BadInput(f"{files[0].name} is {kind}; reproject it to a map projection (metres or feet) first")
    if "copc" in options.products:
        copc_file.check(files)
    points = sum(file.count for file in files)
    target = int(options.shard_mib * 2**20)
    items: list[Item] = [
        {"work": shard.count, **shard.as_json()}
        for number, file in enumerate(files)
        for shard in shards_of(file, number, target, least_bytes=min(target, 16 << 20))
    ]
    for number, item in enumerate(items):
        item["number"] = number
    return Sizing(
        work=points,
        items=items,
        counts={"files": len(files), "points": points, "shards": len(items)},
        facts={
            "crs": crs.wkt,
            "unit_m": crs.metres_per_unit,
            "z_unit_m": crs.metres_per_height_unit,
            "tile_area_km2": tile_area_km2(files, crs.metres_per_unit, options.tile_area_km2),
            "coloured": "ortho" in options.products and _coloured(store, list(zip(sources, files, strict=True))),
        },
        warnings=_warnings(files, systems),
        memory_mib=WHOLE_FIXED_MIB + points * WHOLE_BYTES_A_POINT / 2**20,
    )


def tile_area_km2(files: list[LasFile], unit_m: float, asked_km2: float) -> float:
    """The area of a tile: as asked, or less where the points are dense. What is found does not depend on it.

    The densest file decides. Headers may be wrong about their bounds: then tiles are smaller than they need be, or not.
    """
    area = asked_km2
    for file in files:
        width, height = ((high - low) * unit_m for low, high in zip(file.mins[:2], file.maxs[:2], strict=True))
        if width > 0 and height > 0:
            area = min(area, TILE_POINTS * width * height / file.count / 1e6)
    return max(area, min(asked_km2, LEAST_TILE_KM2))


def _coloured(store: Store, pairs: list[tuple[Source, LasFile]]) -> bool:
    """Whether all files have colours, and the first point of one is not black: many files have the fields and leave them empty.

    The first point of a LAZ chunk is stored as it is.
    """
    if any(file.point_format not in COLOURED for _, file in pairs):
        return False
    for source, file in pairs:
        fields: Mapping[str, Any] = record_dtype(file).fields or {}
        start = fields["red"][1] + (file.offset_to_points + 8 if file.compressed else file.offset_to_points)
        if any(store.get_range(source.key, start, start + 6, version=source.version)):
            return True
    return False


def _warnings(files: list[LasFile], systems: list[Crs]) -> list[str]:
    said = [system.warning for system in systems if system.warning]
    said += [f"{file.name} is read in one piece, which is slower: {file.slow}" for file in files if file.slow]
    if all(system.wkt is None for system in systems):
        said.append("no file says its coordinate system; metres are assumed, and the terrain model has none")
    return said
