"""The options of the point cloud workload. Light to import: control functions validate options without numpy."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from tilery.options import Options


class GroundOptions(BaseModel):
    """Parameters of the ground filter, in metres whatever the unit of the CRS."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cell_m: float = Field(1.0, gt=0, description="Cell of the minimum surface (m).")
    max_window_m: float = Field(18.0, gt=0, le=100, description="Radius of the largest opening (m): half the widest building.")
    slope: float = Field(0.15, gt=0, description="Rise over run that terrain is always allowed.")
    slope_share: float = Field(0.5, ge=0, description="Share of the terrain's own slope that is allowed in addition to none.")
    slope_radius_m: float = Field(8.0, gt=0, description="Radius over which that slope is averaged (m).")
    threshold_m: float = Field(0.5, gt=0, description="Height above the surface up to which a point is ground (m).")
    threshold_slope: float = Field(1.25, ge=0, description="Added to the threshold, times the slope of the surface (m).")
    low_m: float = Field(5.0, gt=0, description="A cell this far (m) below all its neighbours is low noise.")
    fill_m: float = Field(15.0, gt=0, description="How far (m) voids look for ground.")


class PointCloudOptions(Options):
    """Options of a point cloud run. Lengths are metres whatever the unit of the CRS."""

    tile_area_km2: float = Field(0.5, gt=0, le=100, description="Area of a ground tile (km2); results do not depend on it.")
    shard_mib: float = Field(32.0, ge=0.01, le=5120, description="MiB of a file a shard; results do not depend on it.")
    resolution_m: float = Field(1.0, ge=0.05, le=100, description="Cell of the terrain model (m).")
    fill_m: float = Field(30.0, ge=0, le=500, description="How far (m) voids are interpolated; nodata beyond.")
    ground: GroundOptions = Field(GroundOptions(), description="Parameters of the ground filter.")
