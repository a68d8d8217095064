"""The common frame of one run: units, the grid of tiles, and how far a tile must see around itself."""

from __future__ import annotations

import math
from dataclasses import dataclass

from tilery.run import Run
from tilery.workloads.pointcloud.grid import TileGrid, cell_millimetres
from tilery.workloads.pointcloud.ground import halo_cells
from tilery.workloads.pointcloud.objects import REACH
from tilery.workloads.pointcloud.options import PointCloudOptions


@dataclass(frozen=True, slots=True)
class Needs:
    """The columns of a point, beside place, returns and class, that something asks for: others are not even decoded."""

    intensity: bool = False
    rgb: bool = False

    @classmethod
    def of(cls, run: Run, options: PointCloudOptions) -> Needs:
        drawn, coloured = "ortho" in options.products, bool(run.facts["coloured"])
        return cls(intensity=drawn and not coloured, rgb=drawn and coloured)


@dataclass(frozen=True, slots=True)
class Frame:
    """What every verb derives from the run's facts and options in the same way."""

    unit_m: float
    z_unit_m: float
    grid: TileGrid
    halo: int
    """Cells around a tile that its labels depend on."""
    resolution_mm: int
    """Cell of the terrain model; tiles are a whole number of these."""
    needs: Needs = Needs()

    @classmethod
    def of(cls, run: Run, options: PointCloudOptions) -> Frame:
        cell_mm, resolution_mm = cell_millimetres(options.ground.cell_m), cell_millimetres(options.resolution_m)
        both = math.lcm(cell_mm, resolution_mm)
        block = both // cell_mm
        area_km2 = float(run.facts.get("tile_area_km2", options.tile_area_km2))  # smaller where points are dense
        return cls(
            unit_m=float(run.facts["unit_m"]),
            z_unit_m=float(run.facts["z_unit_m"]),
            grid=TileGrid.of_area(area_km2, options.ground.cell_m, block=block),
            halo=halo_cells(options.ground) + REACH,
            resolution_mm=resolution_mm,
            needs=Needs.of(run, options),
        )
