"""What a tile leaves behind for the products: small rasters of its own cells, from its points and their labels."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workload import Work
from tilery.workloads.pointcloud import surface, terrain
from tilery.workloads.pointcloud.fragments import Fragment
from tilery.workloads.pointcloud.frame import Frame
from tilery.workloads.pointcloud.grid import TileIndex, tile_id
from tilery.workloads.pointcloud.options import PointCloudOptions


def write(
    work: Work[PointCloudOptions], tile: TileIndex, frame: Frame, points: Fragment, labels: NDArray[np.uint8]
) -> dict[str, Any]:
    """Write the layers of a tile from the points that it owns (label not 0); returns where they are, as `place` does."""
    key = work.out("layers", tile_id(tile))
    work.store.put(f"{key}/ground", surface.encode(ground_heights(points, labels, tile, frame)))
    return place(key, tile, frame)


def place(key: str, tile: TileIndex, frame: Frame) -> dict[str, Any]:
    """What the summary says of a tile: the key below which its layers are, and the window of cells that they cover."""
    return {"key": key, "window": astuple(surface.in_cells(frame.grid, tile, frame.resolution_mm))}


def ground_heights(points: Fragment, labels: NDArray[np.uint8], tile: TileIndex, frame: Frame) -> surface.Heights:
    """The mean height of the tile's ground points in each cell of the terrain model."""
    ground = labels == 2
    window = surface.in_cells(frame.grid, tile, frame.resolution_mm)
    mean = terrain.mean_heights(points.x[ground], points.y[ground], points.z[ground], window, frame.resolution_mm)
    return surface.Heights(window, mean)
