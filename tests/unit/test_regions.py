"""Regions that cross tiles are the regions of the whole, whatever the tiles and the order of merges."""

import numpy as np
import numpy.typing as npt
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from tilery.workloads.pointcloud import regions
from tilery.workloads.pointcloud.candidates import HOUSE, Candidates
from tilery.workloads.pointcloud.grid import TileGrid, Window, tile_id
from tilery.workloads.pointcloud.objects import RING, Found
from tilery.workloads.pointcloud.options import ObjectOptions
from tilery.workloads.pointcloud.regions import Region

SIDE = 36
LARGE = ObjectOptions(area_m2=20, inner_cells=1)


def tile_of(cells: npt.NDArray[np.bool_], grid: TileGrid, tile: tuple[int, int]) -> regions.TileRegions:
    """The regions of a tile of a raster whose first cell is cell (0, 0); one point, of class 5 otherwise, in each core cell."""
    core = grid.window(tile)
    part = core.grow(RING).overlap(Window(0, 0, SIDE, SIDE))
    seen = cells[part.inside(Window(0, 0, SIDE, SIDE))]
    inside = np.zeros(seen.shape, bool)
    inside[core.overlap(part).inside(part)] = True
    points = np.flatnonzero(seen & inside)
    column = np.full(len(points), 6, np.uint8)
    houses = Candidates.of(HOUSE, seen)
    houses.sums["inner"] = ndimage.minimum_filter(np.pad(seen, 1), 3)[1:-1, 1:-1].astype(np.int64)
    cell, nowhere = points.astype(np.int32), np.full(len(points), -1, np.int32)
    found = Found(column, np.full(len(points), 5, np.uint8), cell, nowhere, (houses,), part)
    return regions.of_tile(found, np.ones(len(points), np.uint8), tile_id(tile), core)


def by_tiles(
    cells: npt.NDArray[np.bool_], side: int, origin: tuple[int, int], seed: int, fan_in: int
) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Cells of accepted regions, and points by class, from tiles merged in groups in an order of `seed`."""
    random = np.random.default_rng(seed)
    grid = TileGrid(1000, side, origin)
    reach = range(-7 // side - 1, (SIDE + 7) // side + 1)
    tiles = [(column, row) for column in reach for row in reach]
    seen = {tile: tile_of(cells, grid, tile) for tile in tiles if overlaps(grid.window(tile))}
    empty = regions.statistics.merged([])
    parts: list[regions.Merged] = [
        regions.Merged(empty, {}, [regions_copy(region) for region in mine.regions.values()]) for mine in seen.values()
    ]
    while len(parts) > 1 or parts[0].rest:
        parts = [parts[number] for number in random.permutation(len(parts))]
        last = len(parts) <= fan_in
        parts = [merge_of(parts[start : start + fan_in], grid, last=last) for start in range(0, len(parts), fan_in)]
    accepted = np.zeros((SIDE, SIDE), bool)
    for tile, mine in seen.items():
        own = mine.rasters[0] * ~np.isin(mine.rasters[0], parts[0].refused.get(tile_id(tile), []))
        core = grid.window(tile).overlap(mine.window)
        accepted[core.inside(Window(0, 0, SIDE, SIDE))] = own[core.inside(mine.window)] > 0
    return accepted, parts[0].statistics["classes"]


def overlaps(window: Window) -> bool:
    part = window.overlap(Window(0, 0, SIDE, SIDE))
    return part.width > 0 and part.height > 0


def regions_copy(region: Region) -> Region:
    (again,) = regions.decode(regions.encode([region]))
    return again


def merge_of(group: list[regions.Merged], grid: TileGrid, *, last: bool) -> regions.Merged:
    open_regions = [regions_copy(region) for part in group for region in part.rest]
    done = regions.merged([part.statistics for part in group], open_regions, LARGE, grid, last=last)
    return regions.Merged(done.statistics, regions.joined([*(part.refused for part in group), done.refused]), done.rest)


@settings(max_examples=25, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    st.integers(0, 10_000),
    st.integers(3, 40),
    st.tuples(st.integers(-7, 7), st.integers(-7, 7)),
    st.integers(0, 99),
    st.integers(2, 70),
    st.sampled_from([0.35, 0.55, 0.75]),
)
def test_any_tiles_and_any_tree_of_merges_accept_the_regions_of_the_whole(
    seed: int, side: int, origin: tuple[int, int], order: int, fan_in: int, share: float
) -> None:
    noise = np.random.default_rng(seed).random((SIDE, SIDE))
    cells = ndimage.uniform_filter(noise, 3) > np.quantile(noise, share) * 0.9 + 0.05
    labelled, count = ndimage.label(cells, np.ones((3, 3)))
    inner = ndimage.minimum_filter(np.pad(cells, 1), 3)[1:-1, 1:-1]
    areas, cores = (np.bincount(labelled[chosen], minlength=count + 1) for chosen in (cells, inner))
    large = (areas >= 20) & (cores >= 1)
    large[0] = False
    accepted, classes = by_tiles(cells, side, origin, order, fan_in)
    assert np.array_equal(accepted, large[labelled])
    right = {"6": int(large[labelled].sum()), "5": int((cells & ~large[labelled]).sum())}
    assert classes == {label: count for label, count in right.items() if count}


def test_two_regions_side_by_side_along_an_edge_are_both_told_of() -> None:
    """Another region lies in the row before the one that crosses the edge, within sight of both tiles but not connected."""
    cells = np.zeros((SIDE, SIDE), bool)
    cells[4:6, 16] = True
    cells[6, 18:24] = cells[7:10, 13:23] = True
    accepted, classes = by_tiles(cells, 18, (0, 0), 1, 3)
    assert accepted.sum() == classes["6"] == 36
    assert classes["5"] == 2


def test_a_region_is_decided_as_soon_as_every_tile_that_sees_its_border_has_told() -> None:
    grid = TileGrid(1000, 10)
    cells = np.zeros((SIDE, SIDE), bool)
    cells[2:8, 7:13] = True
    west, east = (list(tile_of(cells, grid, tile).regions.values()) for tile in ((0, 0), (1, 0)))
    alone = regions.merged([], west, LARGE, grid, last=False)
    assert len(alone.rest) == 1
    both = regions.merged([], [*alone.rest, *east], LARGE, grid, last=False)
    assert both.rest == []
    assert both.refused == {}
    assert both.statistics["classes"] == {"6": 36}


def test_a_region_inside_a_tile_is_decided_there() -> None:
    cells = np.zeros((SIDE, SIDE), bool)
    cells[3:6, 3:6] = True
    (one,) = tile_of(cells, TileGrid(1000, 18), (0, 0)).regions.values()
    assert one.open == {}
    assert (one.cells, one.sums["inner"]) == (9, 1)
