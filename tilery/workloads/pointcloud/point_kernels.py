"""Compiled passes over the points of a tile: bit for bit what the arrays' own operations give (objects.py, statistics.py)."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilery.machine_code import LONG, NOTHING, Array, called, kernel
from tilery.workloads.pointcloud.ground_kernels import BYTES, FLAT, GRID, GROUND, HALO_ONLY, PLACES, UNCLASSIFIED, quotient

READ, READ_32, READ_64, READ_FLAGS, READ_MASK = (
    Array("uint8", readonly=True),
    Array("int32", readonly=True),
    Array("int64", readonly=True),
    Array("bool", readonly=True),
    Array("bool", 2, readonly=True),
)
"""What is only read: a column may be part of what was read from the store."""


@kernel(NOTHING, READ_64, READ_64, READ, READ_64, READ_64, BYTES, PLACES, PLACES, PLACES, PLACES, PLACES, PLACES)
def sort(
    x: Any,
    y: Any,
    seen: Any,
    core: Any,
    layout: Any,
    labels: Any,
    count: Any,
    ground_count: Any,
    ground: Any,
    ground_cell: Any,
    other: Any,
    other_cell: Any,
) -> None:
    """As `objects.sorted_out`: labels of the points in `core` (west, south, east, north; mm), points a cell, and the points of
    ground and the unclassified ones, which and in which cell. `layout`: west and south of the first cell, its side (mm), cells
    in a row."""
    west, south, east, north = core[0], core[1], core[2], core[3]
    inverse = 1.0 / layout[2]
    grounds, others = np.int64(0), np.int64(0)
    for point in range(len(x)):
        kind = seen[point]
        if kind == HALO_ONLY:
            labels[point] = HALO_ONLY
            continue
        inside = (x[point] >= west) & (x[point] < east) & (y[point] >= south) & (y[point] < north)
        labels[point] = kind if inside else HALO_ONLY
        column = quotient(x[point] - layout[0], layout[2], inverse)
        cell = quotient(y[point] - layout[1], layout[2], inverse) * layout[3] + column
        count[cell] += 1
        if kind == GROUND:
            ground_count[cell] += 1
            ground[grounds], ground_cell[grounds] = point, cell
            grounds += 1
        elif kind == UNCLASSIFIED:
            other[others], other_cell[others] = point, cell
            others += 1


@kernel(NOTHING, READ, READ, READ, READ, READ_64, READ_64, READ_32, PLACES, PLACES)
def tally(labels: Any, otherwise: Any, counted: Any, source: Any, x: Any, y: Any, z: Any, changes: Any, ranges: Any) -> None:
    """As `statistics.of_tile`: points (label not 0) by the class that they had (high byte) and the one under which they are
    counted, if any, into `changes`; least and largest x, y, z and height of ground into `ranges`."""
    for point in range(len(labels)):
        if labels[point] == 0:
            continue
        if counted[point] != 0:
            changes[(np.int64(source[point]) << 8) | np.int64(counted[point])] += 1
        height = np.int64(z[point])
        ranges[0], ranges[1] = min(ranges[0], x[point]), max(ranges[1], x[point])
        ranges[2], ranges[3] = min(ranges[2], y[point]), max(ranges[3], y[point])
        ranges[4], ranges[5] = min(ranges[4], height), max(ranges[5], height)
        if labels[point] == GROUND or otherwise[point] == GROUND:
            ranges[6], ranges[7] = min(ranges[6], height), max(ranges[7], height)


@kernel(NOTHING, READ_32, READ_64, FLAT, PLACES)
def convert(stored: Any, how: Any, into: Any, ends: Any) -> None:
    """As `coordinates.write_millimetres` does with one axis; the least and the largest number into `ends`. `how`: the numbers
    of a `grid.Conversion`."""
    factor, add, denominator, whole = how[0], how[1], how[2], how[3]
    least, most = np.int64(1 << 62), np.int64(-(1 << 62))
    for point in range(len(stored)):
        place = np.int64(stored[point]) * factor + add
        if denominator != 1:
            place //= denominator
        place += whole
        least, most = min(least, place), max(most, place)
        into[point] = place
    ends[0], ends[1] = least, most


@kernel(NOTHING, READ_32, READ_32, READ_32, READ_32, READ, READ, READ_64, PLACES, PLACES, FLAT, BYTES, BYTES)
def take(
    members: Any,
    x: Any,
    y: Any,
    z: Any,
    returns: Any,
    source: Any,
    corner: Any,
    into_x: Any,
    into_y: Any,
    into_z: Any,
    into_returns: Any,
    into_source: Any,
) -> None:
    """The columns of some points, x and y moved by `corner`."""
    for number in range(len(members)):
        point = members[number]
        into_x[number], into_y[number] = x[point] + corner[0], y[point] + corner[1]
        into_z[number], into_returns[number], into_source[number] = z[point], returns[point], source[point]


@kernel(LONG, READ_64, READ_64, READ_32, READ_32, READ_FLAGS, READ_64, PLACES)
def stand_out(which: Any, cell: Any, height: Any, slope: Any, dense: Any, limits: Any, picked: Any) -> int:
    """Those of some points (which, and their cells) whose height is above what is allowed on the slope of their cell, where
    points are dense, into `picked`; returns how many. As `objects._low_plants`; `limits`: least height, mm a slope of 1,000,
    and how much less (mm)."""
    count = 0
    for number in range(len(which)):
        above = np.int64(height[which[number]]) - limits[0]
        if above <= 0:
            continue
        more = np.int64(slope[cell[number]]) * limits[1] // 1000 - limits[2]
        if above > max(more, 0) and dense[cell[number]]:
            picked[count] = which[number]
            count += 1
    return count


@kernel(LONG, READ_64, READ_64, READ_32, READ, READ_64, READ_64, PLACES, PLACES)
def at_level(which: Any, cell: Any, z: Any, labels: Any, level: Any, limits: Any, picked: Any, picked_cell: Any) -> int:
    """Those of some points of the ground whose cell has a level, and which are at it, into the last two; returns how many.
    `limits`: a cell's level if it has none, and how far off they may be (mm)."""
    count = 0
    for number in range(len(which)):
        here, point = level[cell[number]], which[number]
        if here == limits[0] or labels[point] != GROUND or abs(np.int64(z[point]) - here) > limits[1]:
            continue
        picked[count], picked_cell[count] = point, cell[number]
        count += 1
    return count


@kernel(
    NOTHING,
    *(READ_64, READ_64, READ_64, READ_64, READ_FLAGS, READ_FLAGS),
    *(READ_FLAGS, READ_32, READ_64, READ_64, READ_64, READ_64, PLACES, PLACES),
)
def roof(
    x: Any,
    y: Any,
    z: Any,
    cell: Any,
    high: Any,
    single: Any,
    there: Any,
    around: Any,
    slope_x: Any,
    slope_y: Any,
    height: Any,
    limits: Any,
    of: Any,
    distance: Any,
) -> None:
    """As `objects.roof_of`, into the last two. `around`: roofs in the 3 x 3 cells around each; `limits`: side of a cell (mm),
    cells in a row, how far off a roof its points are and may be above it (mm), cells of roofs beside a wall, the furthest."""
    cell_mm, width, on, above, wall, furthest = limits[0], limits[1], limits[2], limits[3], limits[4], limits[5]
    nowhere = np.int64(1) << 62
    for point in range(len(z)):
        own = cell[point]
        of[point], distance[point] = -1, furthest
        if around[own] == 0:
            continue
        east, north = x[point] % cell_mm - cell_mm // 2, y[point] % cell_mm - cell_mm // 2
        best, source, below, within = nowhere, np.int64(-1), False, False
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                other = own + dy * width + dx
                if not there[other]:
                    continue
                rise = slope_x[other] * (east - dx * cell_mm) + slope_y[other] * (north - dy * cell_mm)
                off = z[point] - height[other] - (rise >> 10)
                if abs(off) < best:
                    best, source = abs(off), other
                below |= off < -on
                within |= dy == 0 and dx == 0 and off <= above
        part = (high[point] and best <= on) or within
        part = part or (high[point] and below and single[point] and around[own] >= wall)
        if part:
            of[point] = own if there[own] else source
        distance[point] = min(best, furthest)


@called
def _first(leader: Any, number: Any) -> Any:
    while leader[number] != number:
        leader[number] = leader[leader[number]]
        number = np.int64(leader[number])
    return number


@kernel(LONG, READ_MASK, FLAT, GRID)
def connect(there: Any, leader: Any, numbers: Any) -> int:
    """As `candidates.connected`: the numbers of regions; returns how many there are. `leader` has room for a number for every
    other cell."""
    rows, columns = there.shape
    made: Any = np.int64(0)
    for row in range(rows):
        for column in range(columns):
            numbers[row, column] = 0
            if not there[row, column]:
                continue
            own: Any = np.int64(0)
            for step in range(4):  # west, and the three cells of the row before
                y, x = (row, column - 1) if step == 3 else (row - 1, column - 1 + step)
                if y < 0 or x < 0 or x >= columns or numbers[y, x] == 0:
                    continue
                other = _first(leader, np.int64(numbers[y, x]))
                if own == 0:
                    own = other
                elif other != own:
                    leader[max(own, other)] = min(own, other)
                    own = min(own, other)
            if own == 0:
                made += 1
                own = made
                leader[made] = made
            numbers[row, column] = own
    count: Any = np.int64(0)
    for number in range(1, made + 1):  # a leader is the least of its numbers
        if leader[number] == number:
            count += 1
            leader[number] = -count
        else:
            leader[number] = leader[leader[number]]
    for row in range(rows):
        for column in range(columns):
            if numbers[row, column]:
                numbers[row, column] = -leader[numbers[row, column]]
    return int(count)
