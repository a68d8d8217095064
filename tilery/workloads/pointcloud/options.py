"""The options of the point cloud workload. Light to import: control functions validate options without numpy."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field

from tilery.options import Options


class GroundOptions(BaseModel):
    """Parameters of the ground filter, in metres whatever the unit of the CRS."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cell_m: float = Field(1.0, gt=0, description="Cell of the minimum surface (m).")
    max_window_m: float = Field(20.0, gt=0, le=100, description="Radius of the largest opening (m): half the widest building.")
    slope: float = Field(0.12, gt=0, description="Rise over run that terrain is always allowed.")
    slope_share: float = Field(0.25, ge=0, description="Share of the terrain's own slope that is allowed in addition to none.")
    slope_radius_m: float = Field(8.0, gt=0, description="Radius over which that slope is averaged (m).")
    wide_m: float = Field(
        2.0, ge=0, description="Radius (m) from which disks may lower terrain twice as much: banks are wider than bushes."
    )
    most_m: float = Field(
        13.0, gt=0, le=100, description="Times the slope, the most (m) that a larger disk may lower it: walls are higher."
    )
    grow_m: float = Field(
        7.0, gt=0, le=30, description="How far (m) an object cell looks for ground to belong to; nearer where points are dense."
    )
    grow_rounds: int = Field(3, ge=0, le=8, description="How often what was won back is ground for others; 0 wins nothing.")
    grow_height_m: float = Field(0.15, ge=0, description="Added (m) to the scatter of the ground about a plane through it, ...")
    grow_dense: float = Field(
        0.5, ge=0, description="... the sum of which an object cell may rise above it so many times where points are dense, ..."
    )
    grow_sparse: float = Field(1.2, ge=0, description="... so many times where they are sparse, ...")
    grow_level: float = Field(
        4.0, ge=0, description="... and so many times more, times the share of cells around at its own height."
    )
    grow_keep: float = Field(
        1.0, ge=0, description="Times at most, in the end, for what was won back and what sticks out of the ground, ..."
    )
    grow_keep_level: float = Field(2.0, ge=0, description="... and so many times more, times that share.")
    grow_share: float = Field(0.1, ge=0, le=1, description="Share of the cells around that must be ground.")
    grow_lift_m: float = Field(2.0, ge=0, description="Height (m) above all ground around up to which a cell may be won back.")
    level_m: float = Field(0.1, ge=0, description="Difference (m) up to which cells are at the same height, ...")
    level_slope: float = Field(0.1, ge=0, description="... growing with distance (rise over run).")
    crowd_m: float = Field(15.0, gt=0, le=100, description="How far (m) around a cell objects are counted.")
    crowd_share: float = Field(
        0.3, ge=0, description="Share of them from which a cell stands in a crowd, where banks are not spared, ..."
    )
    crowd_slope: float = Field(0.1, gt=0, description="... terrain is always allowed this rise over run, ...")
    crowd_window_m: float = Field(40.0, gt=0, le=200, description="... and this is the radius (m) of the largest opening.")
    open_share: float = Field(0.15, ge=0, description="Share of objects below which a cell stands in the open, ...")
    open_grow: float = Field(1.5, ge=0, description="... where it may rise so many times further in one more round.")
    threshold_m: float = Field(0.4, gt=0, description="Height above the surface up to which a point is ground (m).")
    threshold_slope: float = Field(1.25, ge=0, description="Added to the threshold, times the slope of the surface (m).")
    low_m: float = Field(5.0, gt=0, description="A cell this far (m) below its neighbours is low noise; on slopes further.")
    fill_m: float = Field(15.0, gt=0, description="How far (m) voids look for ground.")


class ObjectOptions(BaseModel):
    """Parameters of the classes above ground, in metres whatever the unit of the CRS."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    roof_m: float = Field(2.0, gt=0, description="Height above ground of the lowest roof (m).")
    rough_m: float = Field(0.08, gt=0, description="Mean distance (m) of a roof's points from their plane.")
    depth_m: float = Field(0.7, gt=0, description="How far (m) below the highest point of a cell its surface goes.")
    least: int = Field(6, ge=4, description="Points that a plane through 2 x 2 cells needs.")
    passed_share: float = Field(0.5, ge=0, le=1, description="Share of a roof cell's points at most that light went on from.")
    step_m: float = Field(0.3, ge=0, description="How far (m) a cell beside a roof may be off its plane, to be part of it.")
    on_m: float = Field(0.3, ge=0, description="How far (m) a point beside a roof may be.")
    above_m: float = Field(0.6, ge=0, description="How far (m) above its plane things on a roof are building.")
    area_m2: float = Field(16.0, ge=0, description="Area (m2) of the smallest building.")
    inner_cells: int = Field(3, ge=0, description="Cells of a building at least whose eight neighbours belong to it.")
    low_vegetation_m: float = Field(0.5, gt=0, description="Height (m) up to which vegetation is low (class 3) ...")
    medium_vegetation_m: float = Field(1.5, gt=0, description="... and up to which it is medium (class 4).")
    grass_m: float = Field(
        0.2, gt=0, description="Height (m) from which dense points just above the ground are low vegetation."
    )
    wire_m: float = Field(3.5, gt=0, description="Height (m) of the lowest wire (class 14).")
    alone_m: float = Field(
        5.0, gt=0, description="A point this far (m) above all others near it, twice as far above ground, is noise (18)."
    )
    hard_m: float = Field(0.3, ge=0, description="Height (m) from which something may be neither plant nor building.")
    hard_share: float = Field(0.22, ge=0, le=1, description="Share of points of several returns up to which low things are.")
    wide_roof_m2: float = Field(
        400.0,
        ge=0,
        description="Area (m2) of the smallest roof so wide that it passes for ground; 0 looks for none.",
    )
    bridge_m2: float = Field(60.0, ge=0, description="Area (m2) of the smallest bridge (class 17); 0 looks for none.")
    water_m2: float = Field(400.0, ge=0, description="Area (m2) of the smallest water (class 9); 0 looks for none.")
    water_rough_m: float = Field(0.075, gt=0, le=1, description="Root mean square (m) by which water may be off its level.")


ProductKind = Literal[
    "classified",
    "dtm",
    "hillshade",
    "dsm",
    "chm",
    "ortho",
    "density",
    "contours",
    "footprints",
    "tiles",
    "stac",
    "report",
    "copc",
]
EVERY_PRODUCT: tuple[ProductKind, ...] = tuple(kind for kind in get_args(ProductKind) if kind != "copc")
"""What a run makes by default: everything, but not all points once more."""


class PointCloudOptions(Options):
    """Options of a point cloud run. Lengths are metres whatever the unit of the CRS."""

    tile_area_km2: float = Field(0.5, gt=0, le=100, description="Area of a ground tile (km2); results do not depend on it.")
    shard_mib: float = Field(32.0, ge=0.01, le=5120, description="MiB of a file a shard; results do not depend on it.")
    resolution_m: float = Field(1.0, ge=0.05, le=100, description="Cell of every raster product (m).")
    fill_m: float = Field(30.0, ge=0, le=500, description="How far (m) voids are interpolated; nodata beyond.")
    products: list[ProductKind] = Field(
        list(EVERY_PRODUCT), description="What is made; what is not asked is neither computed nor decoded."
    )
    upgrade: bool = Field(
        False, description="Files of point formats 0 to 5 become LAS 1.4 of formats 6 to 10; every field is carried over."
    )
    contour_m: float = Field(
        0.0, ge=0, le=1000, description="Height between contours (m); 0 chooses 0.25 to 50 units of height by the relief."
    )
    ground: GroundOptions = Field(GroundOptions(), description="Parameters of the ground filter.")
    keep: list[Annotated[int, Field(ge=1, le=255)]] = Field(
        [], description="Classes of the input that its points keep, whatever is found."
    )
    evidence: bool = Field(
        False,
        description="Where the input says building or vegetation of most high points of a cell, roofs start or end there.",
    )
    learned: bool = Field(
        True, description="Where points are dense and of several returns, trees trained on IGN LiDAR HD decide, not rules."
    )
    objects: ObjectOptions = Field(ObjectOptions(), description="Parameters of the classes above ground.")
