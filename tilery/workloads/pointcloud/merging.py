"""The merge of tiles, a tree: statistics and regions (regions.py), and how often the view has which brightness.

At its root stands what all sheets have in common.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workload import Item, Work
from tilery.workloads.pointcloud import gridding, layers, ortho, regions
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.options import PointCloudOptions


def merge(work: Work[PointCloudOptions], item: Item) -> dict[str, Any]:
    """Merge tiles, or merges."""
    value = regions.merge(work, item)
    levels = None
    if "ortho" in work.options.products:
        parts = item["parts"]
        found = ortho.levels(_of_tiles(work, parts)) if item["round"] == 0 else _added(work, item["values"])
        work.store.put(work.out("levels", str(item["id"])), zlib.compress(found.astype("<i8").tobytes(), 1))
        levels = found
        value["levels"] = work.out("levels", str(item["id"]))
    return value | shared(work, levels) if item["last"] else value


def shared(work: Work[PointCloudOptions], levels: NDArray[np.int64] | None) -> dict[str, Any]:
    """What every sheet must know: the cells of products and tiles, and how the view's 16 bits become 8 (`scale`)."""
    frame = Frame.of(work.run, work.options)
    scale = None if levels is None else ortho.scale_of(levels, stretch=view_of(work) == gridding.INTENSITY)
    return {
        "cell_mm": frame.resolution_mm,
        "tile_cells": frame.grid.side * frame.grid.cell_mm // frame.resolution_mm,
        "scale": None if scale is None else [scale.low, scale.high],
    }


def view_of(work: Work[PointCloudOptions]) -> str:
    """The layer that the view shows."""
    return gridding.COLOUR if work.run.facts["coloured"] else gridding.INTENSITY


def _of_tiles(work: Work[PointCloudOptions], tiles: list[str]) -> Iterator[NDArray[np.uint16]]:
    for tile in tiles:
        key = work.key("process", "layers", tile, view_of(work))
        yield layers.decode(work.store.get(key), key)[1]


def _added(work: Work[PointCloudOptions], values: list[dict[str, Any]]) -> NDArray[np.int64]:
    total = np.zeros(1 << 16, np.int64)
    for value in values:
        total += np.frombuffer(zlib.decompress(work.store.get(value["levels"])), "<i8")
    return total
