"""The dates in one window: the stored values that sums are taken of, or the computed ones, marked where they do not count."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
Band = tuple[NDArray[Any], Flags | None]
"""Values, and which of them count; None: all."""
READERS = 4
"""Dates read at once: decompression releases the interpreter, and requests to S3 wait in parallel."""
AT_ONCE = 768
"""Dates that are held together where a line alone is wanted, in windows of 512 pixels a side at least: one pass makes lines of
them. More are summed run by run, which is the same to the bit."""
_MASK = ""


def held(options: TrendOptions, whole: str, dates: int) -> int:
    """How many dates of a window are in memory together."""
    few = whole and not options.harmonics and not options.robust
    return min(dates, AT_ONCE) if few else dates


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads the scenes of a series; `scratch` holds local copies of files that cannot be read by ranges."""

    store: Store
    sources: Sequence[Source]
    series: Series
    options: TrendOptions
    scratch: Path

    def runs(self, box: Box) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Runs of dates: where in the series, and (dates, pixels) as `Series.stacked` says; overwritten by the next run."""
        count, pixels = len(self.series.scenes), box[2] * box[3]
        at_once = held(self.options, self.series.whole, count)
        stack = np.empty((at_once, pixels), self.series.stacked[0])
        with ThreadPoolExecutor(READERS) as pool:
            for start in range(0, count, at_once):
                scenes = self.series.scenes[start : start + at_once]
                rows = [[row.reshape(box[3], box[2])] for row in stack[: len(scenes)]]
                list(pool.map(self._scene, scenes, [[box]] * len(scenes), rows))
                yield slice(start, start + len(scenes)), stack[: len(scenes)]

    def pixels(self, places: Sequence[tuple[int, int]]) -> NDArray[Any]:
        """Single pixels (column, row) at all dates: (dates, pixels) as `Series.stacked` says."""
        boxes = [(column, row, 1, 1) for column, row in places]
        stack = np.empty((len(self.series.scenes), len(boxes)), self.series.stacked[0])
        with ThreadPoolExecutor(READERS) as pool:
            rows = [list(row.reshape(-1, 1, 1)) for row in stack]
            list(pool.map(self._scene, self.series.scenes, [boxes] * len(stack), rows))
        return stack

    def _scene(self, scene: Scene, boxes: Sequence[Box], into: Sequence[NDArray[Any]]) -> None:
        """Fill `into`, one (height, width) for each box."""
        bands = self._bands(scene, boxes, into)
        quality = bands.pop(_MASK, None)
        for at, place in enumerate(into):
            read = {name: boxed[at] for name, boxed in bands.items()}
            clear = self._clear(scene, quality[at]) if quality else None
            if self.series.whole:
                self._stored(scene, read, clear, place)
            else:
                self._computed(scene, read, clear, place)

    def _bands(self, scene: Scene, boxes: Sequence[Box], into: Sequence[NDArray[Any]]) -> dict[str, list[Band]]:
        """What the scene's bands hold in each box. A file is opened once; stored values are read to where they are wanted."""
        layers = {**scene.layers, **({_MASK: scene.mask} if scene.mask else {})}
        files: dict[tuple[int, str], list[str]] = {}
        for name, layer in layers.items():
            files.setdefault((layer.source, layer.variable), []).append(name)
        bands: dict[str, list[Band]] = {}
        for (source, variable), names in files.items():
            apart = layers[names[0]].first is None
            with rasters.opened(self.store, self.sources[source], self.scratch, source, variable, apart) as dataset:
                for name in names:
                    places = into if self.series.whole and name != _MASK else [None] * len(boxes)
                    how = "nearest" if name == _MASK else self.options.resampling
                    bands[name] = [
                        self._band(dataset, layers[name], box, how, place) for box, place in zip(boxes, places, strict=True)
                    ]
        return bands

    def _band(self, dataset: Any, layer: Layer, box: Box, resampling: str, place: NDArray[Any] | None) -> Band:
        if layer.first is None:
            return rasters.warped(dataset, layer.band, self.series.grid, box, resampling, layer.nodata)
        return rasters.placed(dataset, layer.band, layer.first, box, place)

    def _stored(self, scene: Scene, bands: dict[str, Band], clear: Flags | None, place: NDArray[Any]) -> None:
        """The values of the one band as they are, marked where they do not count."""
        [(name, layer)] = scene.layers.items()
        values, valid = bands[name]
        if values is not place:
            place[...] = values
        nodata = self.series.stacked[1]
        if layer.nodata != nodata:
            valid = _both(valid, rasters.different(values, layer.nodata))
        valid = self._in_range(values, layer, _both(valid, clear))
        if valid is not None:
            np.copyto(place, nodata, where=~valid, casting="unsafe")

    def _computed(self, scene: Scene, bands: dict[str, Band], clear: Flags | None, place: NDArray[Any]) -> None:
        """Values after scale and offset, or what the expression makes of them; NaN where they do not count."""
        valid = clear
        for name, layer in scene.layers.items():
            values, there = bands[name]
            valid = _both(valid, _both(there, rasters.different(values, layer.nodata)))
        scaled = {name: _scaled(bands[name][0], layer) for name, layer in scene.layers.items()}
        if self.options.expression:
            with np.errstate(all="ignore"):
                place[...] = expression.evaluate(self.options.expression, scaled)
        else:
            [place[...]] = scaled.values()
        valid = self._in_range(place, None, valid)
        if valid is not None:
            np.copyto(place, np.nan, where=~valid)

    def _clear(self, scene: Scene, quality: Band) -> Flags | None:
        """Where the quality band lets through."""
        assert self.options.mask
        assert scene.mask
        (values, there), rule, nodata = quality, self.options.mask.rule(), scene.mask.nodata
        if rule.get("keep") or (nodata == 0 and rule.get("bits")):  # the rule itself says whether that value is good:
            nodata = None  # a file's nodata is of all its bands, and 0 is "clear" in most quality bands
        return _both(_both(there, rasters.different(values, nodata)), passes(values, rule))

    def _in_range(self, values: NDArray[Any], stored: Layer | None, valid: Flags | None) -> Flags | None:
        least, most = self.options.valid_min, self.options.valid_max
        if least is None and most is None:
            return valid
        seen = _scaled(values, stored) if stored else values
        with np.errstate(invalid="ignore"):
            if least is not None:
                valid = _both(valid, seen >= least)
            if most is not None:
                valid = _both(valid, seen <= most)
        return valid


def _both(one: Flags | None, other: Flags | None) -> Flags | None:
    return other if one is None else one if other is None else one & other


def passes(quality: NDArray[Any], rule: dict[str, list[int]]) -> Flags:
    """Which pixels a quality rule lets through.

    >>> passes(np.array([0, 1, 8]), {"bits": [3]}).tolist()
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
