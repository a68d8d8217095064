"""How well labels lie apart: neighbours of the same label, and distances between classes beside their spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEIGHBOURS = 5
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class ClassFigures:
    label: str
    count: int
    purity: float
    """Share of the nearest neighbours of its members that have the same label."""
    separation: float
    """Distance of its centre to the nearest other centre, over the mean of both classes' root-mean-square radii."""
    nearest: str
    """The class of that nearest centre; empty if there is no other."""


@dataclass(frozen=True, slots=True)
class Figures:
    classes: list[ClassFigures]
    purity: float
    chance: float
    """The purity of labels dealt at random."""
    neighbours: int


def figures(scores: NDArray[np.float32], labels: Sequence[str]) -> Figures | None:
    """Of (n, k) scores with a label each, by Euclidean distance; None for fewer than two classes or three pictures."""
    counts = Counter(labels)
    if len(counts) < 2 or len(labels) < 3:
        return None
    names = sorted(counts)
    numbers = np.searchsorted(names, list(labels))
    values = scores.astype(np.float64)
    k = min(NEIGHBOURS, len(labels) - 1)
    same = _same_label(values, numbers, k)
    centres = np.stack([values[numbers == number].mean(axis=0) for number in range(len(names))])
    radii = np.array([np.sqrt(((values[numbers == n] - centre) ** 2).sum(axis=1).mean()) for n, centre in enumerate(centres)])
    apart = np.sqrt(np.maximum(_squared(centres, centres), 0))
    np.fill_diagonal(apart, np.inf)
    classes = []
    for number, name in enumerate(names):
        other = int(apart[number].argmin())
        spread = (radii[number] + radii[other]) / 2
        separation = float(apart[number, other] / spread) if spread else float("inf")
        classes.append(ClassFigures(name, counts[name], float(same[numbers == number].mean()), separation, names[other]))
    n = len(labels)
    chance = sum(count * (count - 1) for count in counts.values()) / (n * (n - 1))
    return Figures(classes, float(same.mean()), chance, k)


def _same_label(values: NDArray[np.float64], numbers: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """For every point the share of its k nearest others that have its label."""
    shares = np.empty(len(values))
    for start in range(0, len(values), _BLOCK):
        block = slice(start, min(start + _BLOCK, len(values)))
        distances = _squared(values[block], values)
        distances[np.arange(block.stop - start), np.arange(start, block.stop)] = np.inf
        nearest = np.argpartition(distances, k - 1, axis=1)[:, :k]
        shares[block] = (numbers[nearest] == numbers[block, None]).mean(axis=1)
    return shares


def _squared(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    squares: NDArray[np.float64] = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)[None, :] - 2 * (a @ b.T)
    return squares
