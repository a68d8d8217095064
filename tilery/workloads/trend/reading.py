"""One date in one window: the stored values that sums are taken of, or the computed ones, and which of them count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.store.port import Store
from tilery.workloads.trend import expression, rasters
from tilery.workloads.trend.grid import Box
from tilery.workloads.trend.options import TrendOptions
from tilery.workloads.trend.scenes import Layer, Scene, Series

Flags = NDArray[np.bool_]
Read = tuple[NDArray[Any], Flags]
READERS = 4
"""Dates read at once: decompression releases the interpreter, and requests to S3 wait in parallel."""
AT_ONCE = 16
"""Dates kept in memory before they are summed."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the scenes of a series; `scratch` holds local copies of files that cannot be read by ranges."""

    store: Store
    sources: Sequence[Source]
    series: Series
    options: TrendOptions
    scratch: Path

    def scenes(self, box: Box) -> Iterator[tuple[slice, NDArray[Any], Flags]]:
        """Runs of dates: where they are in the series, values and validity as (dates, pixels); overwritten by the next run."""
        count, pixels = len(self.series.scenes), box[2] * box[3]
        values = np.empty((min(count, AT_ONCE), pixels), self.series.whole or np.float64)
        valid = np.empty(values.shape, bool)

        def read(number: int, at: int) -> None:
            place = values[at].reshape(box[3], box[2])
            one, there = self.scene(self.series.scenes[number], [box], place if self.series.whole else None)[0]
            if one is not place:
                place[...] = one
            valid[at] = there.ravel()

        with ThreadPoolExecutor(READERS) as pool:
            for start in range(0, count, AT_ONCE):
                part = range(start, min(start + AT_ONCE, count))
                list(pool.map(read, part, range(len(part))))
                yield slice(part.start, part.stop), values[: len(part)], valid[: len(part)]

    def pixels(self, boxes: Sequence[Box]) -> tuple[NDArray[Any], Flags]:
        """Values and validity of single pixels, as (dates, pixels)."""
        with ThreadPoolExecutor(READERS) as pool:
            read = list(pool.map(lambda scene: self.scene(scene, boxes), self.series.scenes))
        values = np.array([[values[0, 0] for values, _ in scene] for scene in read])
        return values, np.array([[valid[0, 0] for _, valid in scene] for scene in read])

    def scene(self, scene: Scene, boxes: Sequence[Box], into: Any = None) -> list[tuple[NDArray[Any], Flags]]:
        """For each box: values (height, width) of the stored type where sums are exact in it, else float64; and which count.

        `into`: memory for the values of a single box and band, used where it spares a copy.
        """
        layers = {name: self._layer(layer, boxes, self.options.resampling, into) for name, layer in scene.layers.items()}
        quality = self._layer(scene.mask, boxes, "nearest") if scene.mask else None
        return [
            self._values(scene, {name: read[at] for name, read in layers.items()}, quality[at] if quality else None)
            for at in range(len(boxes))
        ]

    def _values(self, scene: Scene, bands: dict[str, Read], quality: Read | None) -> tuple[NDArray[Any], Flags]:
        valid = reduce(np.logical_and, [there for _, there in bands.values()])
        if quality and self.options.mask:
            valid &= quality[1] & clear(quality[0], self.options.mask.rule())
        first = next(iter(scene.layers.values()))
        values = next(iter(bands.values()))[0]
        if self.series.whole:
            return values, self._in_range(values, first, valid)
        if self.options.expression:
            scaled = {name: _scaled(bands[name][0], layer) for name, layer in scene.layers.items()}
            with np.errstate(all="ignore"):
                computed = np.broadcast_to(expression.evaluate(self.options.expression, scaled), valid.shape)
        else:
            computed = _scaled(values, first)
        valid &= np.isfinite(computed)
        return computed, self._in_range(computed, None, valid)

    def _layer(self, layer: Layer, boxes: Sequence[Box], resampling: str, into: Any = None) -> list[Read]:
        source = self.sources[layer.source]
        area, band, nodata = self.series.grid, layer.band, layer.nodata
        with rasters.opened(self.store, source, self.scratch, layer.source, layer.variable) as dataset:
            return [rasters.band(dataset, band, area, box, resampling, nodata, into) for box in boxes]

    def _in_range(self, values: NDArray[Any], stored: Layer | None, valid: Flags) -> Flags:
        least, most = self.options.valid_min, self.options.valid_max
        if least is None and most is None:
            return valid
        seen = _scaled(values, stored) if stored else values
        with np.errstate(invalid="ignore"):
            if least is not None:
                valid &= seen >= least
            if most is not None:
                valid &= seen <= most
        return valid


def clear(quality: NDArray[Any], rule: dict[str, list[int]]) -> Flags:
    """Which pixels a quality rule lets through.

    >>> clear(np.array([0, 1, 8]), {"bits": [3]}).tolist()
    [True, True, False]
    """
    if rule.get("keep"):
        return np.asarray(np.isin(quality, rule["keep"]))
    if rule.get("drop"):
        return np.asarray(~np.isin(quality, rule["drop"]))
    if quality.dtype.kind not in "ui":
        raise BadInput("the quality band holds fractions, but its mask names bits; use keep or drop")
    bits = sum(1 << bit for bit in rule["bits"])
    return np.asarray(np.asarray(quality.astype(np.int64) & bits) == 0)


def _scaled(values: NDArray[Any], layer: Layer) -> NDArray[np.float64]:
    floats = values.astype(np.float64)
    if layer.scaled:
        floats *= layer.scale
        floats += layer.offset
    return floats
