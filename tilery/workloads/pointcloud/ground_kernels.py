"""Compiled steps of the ground filter for the CPU: bit for bit what the arrays' own operations give (ground.py, morphology.py,
grid.py), in passes that stay in the processor's cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tilery.machine_code import FLAG, LONG, NOTHING, Array, called, kernel

HALO_ONLY, UNCLASSIFIED, GROUND, LOW_NOISE = np.uint8(0), np.uint8(1), np.uint8(2), np.uint8(7)
"""As in ground.py, which loads this file and is not loaded by it."""
VOID = 2**31 - 1
ZERO = np.int64(0)

PLACES = Array("int64")
GRID = Array("int32", 2)
RASTER = Array("float32", 2)
LINE = Array("float32")
TABLE = Array("int64", 2)
MASK = Array("bool", 2)
BYTES = Array("uint8")
FLAT = Array("int32")
KEYS = Array("uint16")
STEPS = Array("int16", 3)


@called
def _lower(into: Any, one: Any, other: Any) -> None:
    for at in range(len(into)):
        least = one[at] if one[at] < other[at] else other[at]
        into[at] = least if least < into[at] else into[at]


@called
def _raise(into: Any, one: Any, other: Any) -> None:
    for at in range(len(into)):
        most = one[at] if one[at] > other[at] else other[at]
        into[at] = most if most > into[at] else into[at]


@kernel(NOTHING, RASTER, LONG, FLAT, GRID, LONG, RASTER, LINE, LINE, GRID)
def opened(
    padded: Any, edge: int, height_of: Any, surface: Any, base: int, eroded: Any, line: Any, best: Any, out: Any
) -> None:
    """The opening of `surface` by a disk, of which `height_of` says how far its columns reach up and down.

    `padded` and `eroded` (overwritten but for its edge) have `edge` rows and columns more on every side, of infinity and minus
    infinity, and heights above `base`; `padded` has infinity for void; `line` has room for a row of it, `best` for one of
    `surface`. Each row of cells is made lower (higher) by those above and below it, step by step, and each such line serves the
    disk's columns of that height, moved sideways.
    """
    rows, columns = surface.shape
    radius = len(height_of) - 1
    for row in range(rows):
        middle = row + edge
        into = eroded[middle, edge : edge + columns]
        for column in range(columns + 2 * edge):
            line[column] = padded[middle, column]
        for column in range(columns):
            into[column] = line[edge + column]
        for height in range(radius + 1):
            if height:
                _lower(line, padded[middle - height], padded[middle + height])
            for aside in range(radius + 1):
                if height_of[aside] == height:
                    west, east = edge - aside, edge + aside
                    _lower(into, line[west : west + columns], line[east : east + columns])
        for column in range(columns):
            if surface[row, column] == VOID:
                into[column] = -np.inf
    for row in range(rows):
        middle = row + edge
        for column in range(columns + 2 * edge):
            line[column] = eroded[middle, column]
        for column in range(columns):
            best[column] = line[edge + column]
        for height in range(radius + 1):
            if height:
                _raise(line, eroded[middle - height], eroded[middle + height])
            for aside in range(radius + 1):
                if height_of[aside] == height:
                    west, east = edge - aside, edge + aside
                    _raise(best, line[west : west + columns], line[east : east + columns])
        for column in range(columns):
            out[row, column] = VOID if surface[row, column] == VOID else np.int32(best[column]) + np.int32(base)


@called
def quotient(value: int, divisor: int, inverse: float) -> int:
    """Of numbers from 0 to 2^52, as floats divide faster than integers."""
    quotient = int(value * inverse)
    rest = value - quotient * divisor
    if rest < 0:
        return quotient - 1
    return quotient + 1 if rest >= divisor else quotient


@kernel(NOTHING, PLACES, PLACES, LONG, LONG, LONG, LONG, PLACES)
def survey(x: Any, y: Any, west: int, south: int, east: int, north: int, found: Any) -> None:
    """How many points lie in the rectangle (its west and south edge belong to it), and the least and the largest x and y."""
    inside, x0, x1, y0, y1 = 0, x[0], x[0], y[0], y[0]
    for point in range(len(x)):
        here_x, here_y = x[point], y[point]
        inside += (here_x >= west) & (here_x < east) & (here_y >= south) & (here_y < north)
        x0, x1 = min(x0, here_x), max(x1, here_x)
        y0, y1 = min(y0, here_y), max(y1, here_y)
    found[0], found[1], found[2], found[3], found[4] = inside, x0, x1, y0, y1


@kernel(NOTHING, PLACES, PLACES, FLAT, LONG, LONG, LONG, GRID)
def lower(x: Any, y: Any, z: Any, west: int, south: int, cell_mm: int, grid: Any) -> None:
    """Lower the cells of `grid`, whose corner is at `west` and `south` (mm), to the lowest of their points."""
    inverse = 1.0 / cell_mm
    for point in range(len(x)):
        column = quotient(x[point] - west, cell_mm, inverse)
        row = quotient(y[point] - south, cell_mm, inverse)
        if z[point] < grid[row, column]:
            grid[row, column] = z[point]


@kernel(NOTHING, FLAT, FLAT, FLAT, FLAT, LONG, LONG, LONG, GRID)
def lower_some(x: Any, y: Any, z: Any, which: Any, west: int, south: int, cell_mm: int, grid: Any) -> None:
    """The same by some of the points only (int32 mm)."""
    inverse = 1.0 / cell_mm
    for number in range(len(which)):
        point = which[number]
        column = quotient(x[point] - west, cell_mm, inverse)
        row = quotient(y[point] - south, cell_mm, inverse)
        if z[point] < grid[row, column]:
            grid[row, column] = z[point]


@kernel(LONG, FLAT, FLAT, FLAT, PLACES, FLAG, FLAT)
def pick(x: Any, y: Any, which: Any, edges: Any, inside: bool, picked: Any) -> int:
    """Those of some points that lie inside of a rectangle (west, south, east, north), or outside, into `picked`; returns how
    many."""
    west, south, east, north = edges[0], edges[1], edges[2], edges[3]
    count = 0
    for number in range(len(which)):
        point = which[number]
        there = (x[point] >= west) & (x[point] < east) & (y[point] >= south) & (y[point] < north)
        picked[count] = point
        count += there == inside
    return count


@kernel(NOTHING, PLACES, PLACES, FLAT, PLACES, PLACES, GRID, GRID, MASK, PLACES, BYTES, FLAT)
def label(
    x: Any, y: Any, z: Any, core: Any, corner: Any, terrain: Any, slope: Any, low: Any, limits: Any, labels: Any, heights: Any
) -> None:
    """Classes and heights above the terrain of the points in `core` (west, south, east, north; mm) as `ground.label_points`.

    `corner` of the grids (mm); `limits`: cell size, tolerance (mm), its growth with slope, depth of low noise (mm).
    """
    west, south, east, north = core[0], core[1], core[2], core[3]
    cell_mm, threshold_mm, share, low_mm = limits[0], limits[1], limits[2], limits[3]
    half, inverse, area = cell_mm // 2, 1.0 / cell_mm, cell_mm * cell_mm
    for point in range(len(x)):
        if x[point] < west or x[point] >= east or y[point] < south or y[point] >= north:
            continue
        place_x, place_y = x[point] - corner[0], y[point] - corner[1]
        column, row = quotient(place_x, cell_mm, inverse), quotient(place_y, cell_mm, inverse)
        own = np.int64(terrain[row, column])
        if own == VOID:
            labels[point], heights[point] = UNCLASSIFIED, VOID
            continue
        part_x, part_y = place_x - column * cell_mm - half, place_y - row * cell_mm - half
        if part_x < 0:
            part_x, left = part_x + cell_mm, column - 1
        else:
            left = column
        if part_y < 0:
            part_y, below = part_y + cell_mm, row - 1
        else:
            below = row
        total = 0
        for dy in range(2):
            weight_y = part_y if dy else cell_mm - part_y
            for dx in range(2):
                corner_height = np.int64(terrain[below + dy, left + dx])
                weight = (part_x if dx else cell_mm - part_x) * weight_y
                total += (own if corner_height == VOID else corner_height) * weight
        height = z[point] - total // area
        steepness = np.int64(slope[row, column])
        if low[row, column] and height < -low_mm * (1000 + steepness) // 1000:
            labels[point] = LOW_NOISE
        elif height <= threshold_mm + share * steepness // 1000:
            labels[point] = GROUND
        else:
            labels[point] = UNCLASSIFIED
        heights[point] = min(max(height, -VOID), VOID - 1)


@kernel(NOTHING, FLAT, FLAT, PLACES, KEYS, PLACES, FLAT)
def deal(x: Any, y: Any, layout: Any, key: Any, stops: Any, order: Any) -> None:
    """Numbers of the points tile by tile, ascending in each, into `order`, and where each tile's end in it into `stops`.

    `layout`: west and south of the first tile, side of a tile (mm), tiles in a row. `key` is overwritten.
    """
    inverse = 1.0 / layout[2]
    stops[:] = 0
    for point in range(len(x)):
        column = quotient(x[point] - layout[0], layout[2], inverse)
        row = quotient(y[point] - layout[1], layout[2], inverse)
        tile = row * layout[3] + column
        key[point] = tile
        stops[tile] += 1
    total = 0
    for tile in range(len(stops)):
        total, stops[tile] = total + stops[tile], total
    for point in range(len(x)):
        tile = key[point]
        order[stops[tile]] = point
        stops[tile] += 1


@kernel(NOTHING, GRID, LONG, FLAG, LONG, STEPS, STEPS, GRID)
def fill(surface: Any, reach: int, one_sided: bool, one: int, ahead: Any, behind: Any, filled: Any) -> None:
    """`filled` with its void cells filled as fill.py says; `one`: the weight of a line of length 1. `ahead` has room for four
    rasters, `behind` for two rows of each.

    Steps to the nearest known cell ahead, and behind, are one more than those of the next cell that way.
    """
    rows, columns = surface.shape
    far_off = np.int16(16000)
    for row in range(rows - 1, -1, -1):
        for column in range(columns - 1, -1, -1):
            for line in range(4):
                dy, dx = (0 if line == 0 else 1), (1 if line == 0 else line - 1 if line < 3 else -1)
                y, x = row + dy, column + dx
                steps = far_off
                if surface[row, column] != VOID:
                    steps = np.int16(0)
                elif y < rows and 0 <= x < columns:
                    steps = np.int16(min(ahead[line, y, x] + 1, far_off))
                ahead[line, row, column] = steps
    for row in range(rows):
        here, before = row % 2, (row + 1) % 2
        for column in range(columns):
            void = surface[row, column] == VOID
            both_sum, both_weight, one_sum, one_weight = ZERO, ZERO, ZERO, ZERO
            for line in range(4):
                dy, dx = (0 if line == 0 else 1), (1 if line == 0 else line - 1 if line < 3 else -1)
                y, x = row - dy, column - dx
                steps = far_off
                if not void:
                    steps = np.int16(0)
                elif y >= 0 and 0 <= x < columns:
                    steps = np.int16(min(behind[line, here if dy == 0 else before, x] + 1, far_off))
                behind[line, here, column] = steps
                if not void:
                    continue
                to, back = np.int64(ahead[line, row, column]), np.int64(steps)
                length = 1 if line < 2 else 2
                sees, seen = to <= reach, back <= reach
                near = np.int64(surface[row + dy * to, column + dx * to]) if sees else 0
                far = np.int64(surface[row - dy * back, column - dx * back]) if seen else 0
                if sees and seen:
                    span = to + back
                    weight = one // (span * span * length)
                    both_sum += (near * back + far * to) // span * weight
                    both_weight += weight
                if one_sided and sees:
                    weight = one // (to * to * length)
                    one_sum += near * weight
                    one_weight += weight
                if one_sided and seen:
                    weight = one // (back * back * length)
                    one_sum += far * weight
                    one_weight += weight
            if void and both_weight > 0:
                filled[row, column] = both_sum // both_weight
            elif void and one_weight > 0:
                filled[row, column] = one_sum // one_weight


@called
def _total(values: Any, radius: int, column_sums: Any, sums: Any) -> None:
    rows, columns = values.shape
    for row in range(-radius, rows):
        if row + radius < rows:
            for column in range(columns):
                column_sums[column] += np.int64(values[row + radius, column])
        if row - radius > 0:
            for column in range(columns):
                column_sums[column] -= np.int64(values[row - radius - 1, column])
        if row < 0:
            continue
        inside = ZERO
        for column in range(-radius, columns):
            if column + radius < columns:
                inside += column_sums[column + radius]
            if column - radius > 0:
                inside -= column_sums[column - radius - 1]
            if column >= 0:
                sums[row, column] = inside


@kernel(NOTHING, GRID, LONG, PLACES, TABLE)
def total(values: Any, radius: int, column_sums: Any, sums: Any) -> None:
    """Sums over the square of cells within `radius` into `sums`; beyond the array counts as 0. `column_sums` are 0."""
    _total(values, radius, column_sums, sums)


@kernel(NOTHING, TABLE, LONG, PLACES, TABLE)
def total_of_long(values: Any, radius: int, column_sums: Any, sums: Any) -> None:
    """The same of wider numbers."""
    _total(values, radius, column_sums, sums)


@kernel(NOTHING, MASK, LONG, PLACES, GRID)
def total_of_cells(values: Any, radius: int, column_sums: Any, sums: Any) -> None:
    """How many cells there are."""
    _total(values, radius, column_sums, sums)


@called
def _extreme(values: Any, reach: int, highest: bool, line: Any, out: Any) -> None:
    rows, columns = values.shape
    for row in range(rows):
        for column in range(columns):
            line[column] = values[row, column]
        for other in range(max(row - reach, 0), min(row + reach + 1, rows)):
            for column in range(columns):
                one, best = values[other, column], line[column]
                line[column] = one if (one > best) == highest else best
        into = out[row]
        for column in range(columns):
            into[column] = line[column]
        for step in range(1, min(reach, columns - 1) + 1):
            for column in range(columns - step):
                one, best = line[column + step], into[column]
                into[column] = one if (one > best) == highest else best
            for column in range(step, columns):
                one, best = line[column - step], into[column]
                into[column] = one if (one > best) == highest else best


@kernel(NOTHING, GRID, LONG, FLAG, FLAT, GRID)
def extreme(values: Any, reach: int, highest: bool, line: Any, out: Any) -> None:
    """The highest, or the lowest, of the square of cells within `reach`, into `out`; `line` has room for a row."""
    _extreme(values, reach, highest, line, out)


@kernel(NOTHING, TABLE, LONG, FLAG, PLACES, TABLE)
def extreme_of_long(values: Any, reach: int, highest: bool, line: Any, out: Any) -> None:
    """The same of wider numbers."""
    _extreme(values, reach, highest, line, out)


@kernel(NOTHING, GRID, GRID, LONG, GRID, MASK)
def exceeds(drop: Any, slope: Any, length: int, apart: Any, found: Any) -> None:
    """Adds to the cells `found` as ground.py says; there is no whole number between a quotient and that, rounded down."""
    rows, columns = drop.shape
    for row in range(rows):
        for column in range(columns):
            over = max(np.int64(apart[row, column]), length)
            found[row, column] |= np.int64(drop[row, column]) * 1000 > slope[row, column] * over


@called
def _rise(before: Any, after: Any, most: int) -> Any:
    if before == VOID or after == VOID:
        return 0
    rise = after - before
    return -most if rise < -most else most if rise > most else rise


@kernel(NOTHING, GRID, LONG, LONG, GRID)
def slope(surface: Any, cell_mm: int, steepest: int, out: Any) -> None:
    """As `ground.slope_mm`, into `out`."""
    rows, columns = surface.shape
    for row in range(rows):
        for column in range(columns):
            x, y = 0, 0
            if 0 < column < columns - 1:
                x = _rise(np.int64(surface[row, column - 1]), np.int64(surface[row, column + 1]), steepest)
            if 0 < row < rows - 1:
                y = _rise(np.int64(surface[row - 1, column]), np.int64(surface[row + 1, column]), steepest)
            out[row, column] = np.int64(np.sqrt(np.float64(x) * x + np.float64(y) * y)) * 1000 // (2 * cell_mm)


@kernel(NOTHING, FLAT, PLACES, PLACES, PLACES, PLACES, TABLE)
def level(heights: Any, place: Any, own: Any, steps: Any, tolerances: Any, counts: Any) -> None:
    """How many of the cells some steps away from each place are known, and are as high but for a tolerance, into the rows of
    `counts`; `heights` is a padded raster, `own` that of the places."""
    for cell in range(len(place)):
        known, alike = 0, 0
        for number in range(len(steps)):
            other = heights[place[cell] + steps[number]]
            if other != VOID:
                known += 1
                alike += abs(other - own[cell]) <= tolerances[number]
        counts[0, cell], counts[1, cell] = known, alike


@kernel(NOTHING, FLAT, LONG, PLACES, PLACES, LONG, TABLE)
def moments(ground: Any, width: int, place: Any, height: Any, radius: int, sums: Any) -> None:
    """Sums over the ground in the square around each place (flat index in the padded raster `ground`), without itself, into the
    columns of `sums`: n, x, y, z, xx, xy, yy, xz, yz, zz; z from `height`."""
    for cell in range(len(place)):
        n, x, y, z, xx, xy, yy, xz, yz, zz = 0, 0, 0, 0, 0, 0, 0, 0, 0, 0
        for dy in range(-radius, radius + 1):
            start = place[cell] + dy * width
            for dx in range(-radius, radius + 1):
                other = ground[start + dx]
                if other == VOID or (dy == 0 and dx == 0):
                    continue
                rise = other - height[cell]
                n, x, y, z = n + 1, x + dx, y + dy, z + rise
                xx, xy, yy = xx + dx * dx, xy + dx * dy, yy + dy * dy
                xz, yz, zz = xz + rise * dx, yz + rise * dy, zz + rise * rise
        for number, total in enumerate((n, x, y, z, xx, xy, yy, xz, yz, zz)):
            sums[number, cell] = total
