"""Points in an octree, as COPC keeps them: every node holds a sample of what lies in it, its children what is left.

A node takes one point of each of its 128^3 voxels; where few are left, it takes them all. Points are numbered along a Morton
curve, on which every node and every voxel is one run. So parts of the cube can be sorted one after another, in the order of the
curve, for the nodes above them too: no more must fit into memory than a part and the path that leads to it.

Source: COPC specification 1.0; Morton, "A computer oriented geodetic data base", 1966.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

VOXEL_LEVELS = 7
"""A node has 2^7 voxels a side."""
LEAF_POINTS = 65_536
"""A node of which no more points are left takes them all."""
DEEPEST = 14
"""Voxels of deeper nodes would not be numbered in 63 bits."""
MOST_AT_ONCE = 1 << 22
"""Points of a part at most: they are numbered in the low bits of their ranks."""

Places = NDArray[np.int64]
"""Integer coordinates, shape (n, 3)."""
Codes = NDArray[np.uint64]
"""Numbers along the curve of the smallest voxels."""
Key = tuple[int, int, int, int]
"""Level, x, y, z of a node."""
Node = tuple[int, int]
"""Level of a node, and its number along the curve of its level."""


@dataclass(frozen=True, slots=True)
class Cube:
    """The root: `side` long from `origin` on (integer coordinates), both ends included."""

    origin: tuple[int, int, int]
    side: int

    @classmethod
    def around(cls, low: tuple[int, int, int], high: tuple[int, int, int]) -> Cube:
        """The smallest cube that holds these corners."""
        return cls(low, max(1, *(above - below for below, above in zip(low, high, strict=True))))

    @property
    def deepest(self) -> int:
        """The deepest level: its voxels are not smaller than the integers are."""
        return max(0, min(DEEPEST, self.side.bit_length() - 1 - VOXEL_LEVELS))

    def codes(self, places: Places) -> Codes:
        """Where the points lie on the curve. Raises `ValueError` for a point outside the cube."""
        inside = places - np.array(self.origin)
        if inside.size and (int(inside.min()) < 0 or int(inside.max()) > self.side):
            raise ValueError("a point lies outside the cube")
        levels = self.deepest + VOXEL_LEVELS
        steps = np.minimum((inside << levels) // self.side, (1 << levels) - 1).astype(np.uint64)
        x, y, z = (_spread(axis) for axis in steps.T)
        codes: Codes = (x << np.uint64(2)) | (y << np.uint64(1)) | z
        return codes

    def level_of(self, codes: Codes, level: int) -> Codes:
        """The number at this level of what holds each point: a node, or a voxel of one `VOXEL_LEVELS` above."""
        numbers: Codes = codes >> np.uint64(3 * (self.deepest + VOXEL_LEVELS - level))
        return numbers

    def parts(self, sample: Codes, most: int) -> list[Node]:
        """Nodes that cover the cube, in the order of the curve, with `most` points of the sample each, if they can be cut."""
        return list(self._cut((0, 0), np.sort(sample), most))

    def _cut(self, node: Node, sample: Codes, most: int) -> Iterator[Node]:
        level, number = node
        if len(sample) <= most or level == self.deepest:
            yield node
            return
        children = range(8 * number, 8 * number + 8)
        edges = np.searchsorted(self.level_of(sample, level + 1), [*children[1:]])
        for child, part in zip(children, np.split(sample, edges), strict=True):
            yield from self._cut((level + 1, child), part, most)

    def part_of(self, codes: Codes, parts: list[Node]) -> NDArray[np.int64]:
        """Which of the parts that cover the cube each point lies in."""
        firsts = [number << (3 * (self.deepest + VOXEL_LEVELS - level)) for level, number in parts]
        found: NDArray[np.int64] = np.searchsorted(np.array(firsts, np.uint64), codes, "right") - 1
        return found


def key_of(node: Node) -> Key:
    level, number = node
    x, y, z = (sum((number >> (3 * bit + axis) & 1) << bit for bit in range(level)) for axis in (2, 1, 0))
    return level, x, y, z


@dataclass
class Sorting:
    """The parts of a cube, given in the order of the curve, become nodes."""

    cube: Cube
    settled: dict[int, int] = field(default_factory=dict)
    """Level above a part -> its last voxel that has given a point, where voxels are larger than the part."""

    def nodes(self, places: Places, level: int) -> Iterator[tuple[Node, NDArray[np.int64]]]:
        """The nodes of all points of one part, which is a node of this level, and of those above it: node and the points'
        indices, ascending. What the nodes above have from several parts comes in pieces.

        The points that stand for their voxel are chosen by a hash of their place. Where a voxel is larger than the part, the
        first part in it gives the point.
        """
        cube = self.cube
        if len(places) > MOST_AT_ONCE:
            raise ValueError(f"{len(places)} points are too many for one part")
        codes = cube.codes(places)
        order = np.argsort(codes, kind="stable")
        codes = codes[order]
        rank = (_mixed(codes) & np.uint64(~(MOST_AT_ONCE - 1) & (1 << 64) - 1)) | order.astype(np.uint64)
        depth = 0
        while len(codes):
            nodes, voxels = cube.level_of(codes, depth), cube.level_of(codes, depth + VOXEL_LEVELS)
            taken = np.zeros(len(codes), bool)
            if depth + VOXEL_LEVELS >= level:
                starts, lengths = _runs(voxels)
                taken |= rank == np.repeat(np.minimum.reduceat(rank, starts), lengths)
            elif self.settled.get(depth) != int(voxels[0]):
                self.settled[depth] = int(voxels[0])
                taken[np.argmin(rank)] = True
            if depth >= level:
                _, lengths = _runs(nodes)
                taken |= np.repeat(lengths <= LEAF_POINTS, lengths) | (depth == cube.deepest)
            mine, owners = order[taken], nodes[taken]
            starts, _ = _runs(owners)
            for number, members in zip(owners[starts].tolist(), np.split(mine, starts[1:]), strict=False):
                yield (depth, number), np.sort(members)
            left = ~taken
            codes, rank, order, depth = codes[left], rank[left], order[left], depth + 1


def _runs(values: Codes) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each run of equal values starts, and how long it is."""
    starts = np.flatnonzero(np.concatenate([np.ones(min(1, len(values)), bool), values[1:] != values[:-1]]))
    return starts, np.diff(starts, append=len(values))


def _spread(values: Codes) -> Codes:
    """The low 21 bits, each two bits apart."""
    spread = values & np.uint64(0x1FFFFF)
    for shift, mask in (
        (32, 0x1F00000000FFFF),
        (16, 0x1F0000FF0000FF),
        (8, 0x100F00F00F00F00F),
        (4, 0x10C30C30C30C30C3),
        (2, 0x1249249249249249),
    ):
        spread = (spread | (spread << np.uint64(shift))) & np.uint64(mask)
    return spread


def _mixed(codes: Codes) -> Codes:
    """A number of each place in no order (Steele et al., "Fast splittable pseudorandom number generators", 2014)."""
    mixed = codes + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
