"""What a run computes with: the dates, and of each date which band of which file, how it is scaled, and what masks it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from math import nan
from typing import Any

from tilery.workloads.trend.grid import Grid

MOST_DATES = 4096
MOST_DAYS = 1 << 15
"""From the epoch, either way (89 years). Within these two, no sum of `linear` overflows."""

_RANGES = {"uint8": (0, 255), "int8": (-128, 127), "uint16": (0, 65535), "int16": (-(1 << 15), (1 << 15) - 1)}
WHOLE = tuple(_RANGES)
"""The types of stored values whose sums are taken as they are."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One band of one source. Value = stored x scale + offset; `nodata` is a stored value."""

    source: int
    band: int
    scale: float = 1.0
    offset: float = 0.0
    nodata: float | None = None
    variable: str = ""
    first: tuple[int, int] | None = None
    """Column and row, on the grid of the series, of the raster's first pixel; None: it has to be reprojected."""

    @property
    def scaled(self) -> bool:
        return self.scale != 1.0 or self.offset != 0.0

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Layer:
        return cls(**{**value, "first": tuple(value["first"]) if value["first"] else None})


@dataclass(frozen=True, slots=True)
class Scene:
    """One date. `layers` has one entry per band that the expression reads, by its name there."""

    day: int
    """Days since the epoch of the series."""
    layers: dict[str, Layer]
    mask: Layer | None = None

    @property
    def all(self) -> list[Layer]:
        return [*self.layers.values(), *([self.mask] if self.mask else [])]

    def mapped(self, change: Callable[[Layer], Layer]) -> Scene:
        layers = {name: change(layer) for name, layer in self.layers.items()}
        return Scene(self.day, layers, change(self.mask) if self.mask else None)


@dataclass(frozen=True, slots=True)
class Series:
    """All dates of a run on the grid of its result."""

    grid: Grid
    epoch: date
    scenes: list[Scene]
    whole: str
    """The 8 or 16 bit type of the stored values, where their sums can be taken as they are; else empty."""
    window: tuple[int, int]

    @property
    def stacked(self) -> tuple[str, float]:
        """The type of a window's stack, and what means there that there is no value.

        That is the files' own nodata where it is one value of their type for all, because then nothing needs to be marked;
        else a value of the next larger type that theirs does not have. Computed values are floats and NaN.
        """
        if not self.whole:
            return "float64", nan
        stated = {layer.nodata for scene in self.scenes for layer in scene.layers.values()}
        least, most = _RANGES[self.whole]
        nodata = stated.pop()
        if not stated and nodata is not None and least <= nodata <= most and nodata == int(nodata):
            return self.whole if most > 255 else "int16", int(nodata)
        return ("int16", -(1 << 15)) if most < 256 else ("int32", -1 if least == 0 else 1 << 15)

    @property
    def dates(self) -> list[date]:
        return [self.epoch + timedelta(days=scene.day) for scene in self.scenes]

    def json(self) -> dict[str, Any]:
        return {**asdict(self), "epoch": self.epoch.isoformat()}

    @classmethod
    def read(cls, value: Mapping[str, Any]) -> Series:
        scenes = [
            Scene(
                scene["day"],
                {name: Layer.read(layer) for name, layer in scene["layers"].items()},
                Layer.read(scene["mask"]) if scene["mask"] else None,
            )
            for scene in value["scenes"]
        ]
        grid = Grid.read(value["grid"])
        return cls(grid, date.fromisoformat(value["epoch"]), scenes, value["whole"], tuple(value["window"]))
