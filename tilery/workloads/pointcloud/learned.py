"""The learned head: small trees on whole numbers, in place of the rules where points are like those that it learned from.

It decides of what the ground filter left whether it is building, vegetation or neither, and of what barely passed for ground
whether it is. What stands above ground is decided twice: once alone, then with the votes of the points around it.

It was trained by `python -m benchmarks.pointcloud.train` on seven samples of IGN LiDAR HD (Licence Ouverte / Etalab 2.0, which
allows it; source: IGN). It only speaks where pulses have several returns and points are dense, as there; the rules speak
elsewhere. Features, thresholds and leaves are integers, so any device and any library that evaluates the trees says the same;
the same trees are shipped as ONNX.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workloads.pointcloud import compiled, forest_kernel
from tilery.workloads.pointcloud.array_module import module_of
from tilery.workloads.pointcloud.features import Planes, around, extreme
from tilery.workloads.pointcloud.grid import MM_PER_M, Window

CLASSES = (1, 2, 5, 6)
"""What a score is for: none of the others, ground, vegetation, building."""
FEATURES = (
    "height",
    "below_top",
    "off_roof",
    "several",
    "top",
    "low",
    "top_3",
    "top_7",
    "rough",
    "rough_3",
    "several_3",
    "several_5",
    "passed_3",
    "ground_3",
    "roofs_3",
    "roofs_5",
    "ground_mean",
    "ground_mean_3",
    "ground_mean_5",
    "ground_rough_3",
    "ground_rough_5",
    "lifted_3",
    "lifted_5",
    "lifted_11",
    "ground_several_3",
    "ground_top_3",
    "ground_slope",
)
"""Of the point: height above ground, depth below the top of its cell, distance to the nearest roof's plane (mm), whether its
pulse has several returns. Of its cell: highest and lowest point above ground, highest within 3 and 7 cells, mean distance of
the surface to its plane and the least within 3 cells (mm), shares of points (1/1000) of several returns and passed by light,
of ground, and counts of roof cells. Of what passed for ground: the mean of heights above the surface through it and their
scatter (mm), shares of points that are `LIFTED_MM` above it and of several returns (1/1000), the highest (mm), and the slope of
the surface (mm a m)."""
SCALE = 4096
"""Scores are whole numbers of this part of one."""
LIFTED_MM = 100
"""How far above the surface a point that passed for ground is asked about."""
VOTE, SPLIT_MM, WEIGHT = 2, 3_000, 3 * SCALE
"""Cells within which points vote, the lower and the upper ones apart (mm above ground), and what all votes together weigh."""
AT_ONCE = 1 << 18
"""Points that are described at once: 108 bytes each, and as much again on the way."""
DENSITY = 8
"""Points per m2 from which it speaks."""
FAR_MM = 5_000
NOWHERE = -(1 << 30)


@dataclass(frozen=True, slots=True)
class Forest:
    """Boosted trees: node i asks whether `feature[i]` of a point is at most `threshold[i]`, and goes `left` or `right`."""

    roots: NDArray[np.int32]
    """First node of each tree; tree i counts for class i % 4."""
    feature: NDArray[np.int32]
    """-1 for a leaf."""
    threshold: NDArray[np.int32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    value: NDArray[np.int32]
    base: NDArray[np.int32]
    """Score of each class before the first tree."""

    def scores(self, described: Any) -> Any:
        """Scores (int32, n x classes) of described points (int32, n x features). The device does not change a number."""
        compiled.prepare(len(described))
        if isinstance(described, np.ndarray) and compiled.at_hand():
            trees = (self.roots, self.feature, self.threshold, self.left, self.right, self.value, self.base)
            total = np.empty((len(described), len(CLASSES)), np.int32)
            forest_kernel.scores(np.ascontiguousarray(described, np.int32), *trees, total)
            return total
        return scores_by_level(self, described)


def scores_by_level(forest: Forest, described: Any) -> Any:
    """The same for any array module: all points take one step down a tree at once."""
    xp = module_of(described)
    feature, threshold, left, right, value = (
        xp.asarray(getattr(forest, name)) for name in ("feature", "threshold", "left", "right", "value")
    )
    total = xp.tile(xp.asarray(forest.base), (len(described), 1))
    rows = xp.arange(len(described))
    for tree, root in enumerate(forest.roots.tolist()):
        node = xp.full(len(described), root, dtype=xp.int32)
        while True:
            asks = feature[node] >= 0
            if not bool(asks.any()):
                break
            lower = described[rows, xp.maximum(feature[node], 0)] <= threshold[node]
            node = xp.where(asks, xp.where(lower, left[node], right[node]), node)
        total[:, tree % len(CLASSES)] += value[node]
    return total


@lru_cache(maxsize=1)
def shipped() -> Forest:
    """The trees that come with Tilery."""
    with resources.files(__package__).joinpath("learned_ign.npz").open("rb") as stream, np.load(stream) as arrays:
        return Forest(**{name: arrays[name] for name in Forest.__dataclass_fields__})


def dense_cells(count: Any, cell_mm: int) -> Any:
    """Cells (bool) around which points (`count` a cell) are as dense as those that were learned from."""
    return around(count, 2) * MM_PER_M**2 >= 25 * DENSITY * cell_mm**2


def voted(scores: Any, cell: Any, height: Any, window: Window) -> Any:
    """The class (index in `CLASSES`) of each point, of its scores and those for which the points around it are.

    cell: in `window`, whose outermost `VOTE` cells lack votes; height: above ground (mm).
    """
    xp, size = module_of(scores), window.width * window.height
    alone = scores.argmax(axis=1).astype(xp.uint8)
    best = alone.copy()
    for layer in (height < SPLIT_MM, height >= SPLIT_MM):
        counts = (xp.bincount(cell[layer & (alone == one)], minlength=size) for one in range(len(CLASSES)))
        around_cell = xp.stack([around(count.reshape(window.shape), VOTE).ravel() for count in counts], axis=1)
        which = xp.flatnonzero(layer)
        for start in range(0, len(which), AT_ONCE):
            some = which[start : start + AT_ONCE]
            votes = around_cell[cell[some]]
            best[some] = (scores[some] + WEIGHT * votes // votes.sum(axis=1, keepdims=True)).argmax(axis=1)
    return best


def _share(some: Any, all_: Any) -> Any:
    """Parts of a thousand (integers)."""
    return 1000 * some // module_of(all_).maximum(all_, 1)


@dataclass(frozen=True, slots=True)
class Footing:
    """What of the cells describes what passed for ground."""

    count: Any
    """Its points a cell."""
    rasters: tuple[Any, ...]
    """Flat: `FEATURES` from `ground_mean` on."""

    @classmethod
    def of(cls, cell: Any, height: Any, several: Any, slope: Any, window: Window) -> Footing:
        """From its points: their cells in `window`, heights above the surface (mm), and whether their pulses have several
        returns; and from the slope of the surface (mm a m)."""
        xp, size = module_of(height), window.width * window.height
        height = xp.clip(height, -FAR_MM, FAR_MM)

        def per_cell(weights: Any = None) -> Any:
            # Sums of whole numbers below 2^53 are exact in float64, in any order.
            return xp.bincount(cell, weights=weights, minlength=size).astype(xp.int64).reshape(window.shape)

        def rough(reach: int) -> Any:
            n, sums = counts[reach], totals[reach]
            return xp.floor(xp.sqrt((n * around(squares, reach) - sums * sums).astype(xp.float64))) // xp.maximum(n, 1)

        wide = height.astype(xp.float64)
        count, total, squares = per_cell(), per_cell(wide), per_cell(wide * wide)
        counts = {reach: around(count, reach) for reach in (0, 1, 2, 5)}
        totals = {reach: around(total, reach) for reach in (0, 1, 2)}
        lifted = xp.bincount(cell[height >= LIFTED_MM], minlength=size).reshape(window.shape)
        several_cells = xp.bincount(cell[several], minlength=size).reshape(window.shape)
        top = xp.full(size, -FAR_MM, dtype=xp.int32)
        xp.maximum.at(top, cell, height.astype(xp.int32))
        rasters = (
            *(sums // xp.maximum(counts[reach], 1) for reach, sums in totals.items()),
            *(rough(reach) for reach in (1, 2)),
            *(_share(around(lifted, reach), counts[reach]) for reach in (1, 2, 5)),
            _share(around(several_cells, 1), counts[1]),
            extreme(xp.maximum, top.reshape(window.shape), 1),
            slope,
        )
        return cls(count, tuple(raster.astype(xp.int32).ravel() for raster in rasters))


@dataclass(frozen=True, slots=True)
class Described:
    """What of the cells describes points above ground."""

    rasters: tuple[Any, ...]
    """Flat: `FEATURES` from `top` on."""

    @classmethod
    def of(
        cls,
        cell: Any,
        height: Any,
        several: Any,
        passed: Any,
        footing: Footing,
        surface: Planes,
        roofs: Any,
        window: Window,
    ) -> Described:
        """From all points above ground: their cells in `window`, heights (mm), returns and surface; and from what passed for
        ground and the cells of roofs."""
        xp, size = module_of(height), window.width * window.height

        def per_cell(chosen: Any) -> Any:
            return xp.bincount(chosen, minlength=size).reshape(window.shape)

        top, low = xp.full(size, NOWHERE, dtype=xp.int32), xp.full(size, -NOWHERE, dtype=xp.int32)
        xp.maximum.at(top, cell, height.astype(xp.int32))
        xp.minimum.at(low, cell, height.astype(xp.int32))
        top = top.reshape(window.shape)
        rough = xp.floor(xp.sqrt(xp.minimum(surface.variance, FAR_MM * FAR_MM).astype(xp.float64))).astype(xp.int32)
        count = per_cell(cell)
        count_3, ground_3, several_cells = around(count, 1), around(footing.count, 1), per_cell(cell[several])
        rasters = (
            top,
            low,
            extreme(xp.maximum, top, 1),
            extreme(xp.maximum, top, 3),
            rough,
            extreme(xp.minimum, rough, 1),
            _share(around(several_cells, 1), count_3),
            _share(around(several_cells, 2), around(count, 2)),
            _share(around(per_cell(cell[passed]), 1), count_3),
            _share(ground_3, ground_3 + count_3),
            around(roofs, 1),
            around(roofs, 2),
        )
        return cls((*(raster.ravel() for raster in rasters), *footing.rasters))

    def features(self, cell: Any, height: Any, several: Any, off_roof: Any) -> Any:
        """The features (int32, points x features) of some points: their cells, heights (mm), whether their pulses have several
        returns, and distances to the nearest roof's plane (mm)."""
        xp = module_of(height)
        below_top = xp.maximum(self.rasters[0][cell] - height, -FAR_MM)  # nothing may stand on the ground of a cell
        columns = (height, below_top, off_roof, several, *(raster[cell] for raster in self.rasters))
        return xp.stack([column.astype(xp.int32) for column in columns], axis=1)
