"""Counts, means and co-moments of features, which merge exactly: what a standardiser and a PCA of the whole set need.

Co-moments are sums of products of deviations from the mean, so that nothing cancels. Merging: Chan, Golub & LeVeque, Updating
formulae and a pairwise algorithm for computing sample variances (1979). Floating-point sums depend on their order, so the
order is fixed: `fold` adds as one binary tree over blocks of pictures, however the blocks are spread over lists.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Of n pictures with d features: `mean` is (d,), `comoments` (d, d) and symmetric."""

    n: int
    mean: Floats
    comoments: Floats

    @staticmethod
    def of(features: NDArray[np.float32] | Floats) -> Moments:
        """Of rows; no row gives the neutral element of `merged`."""
        n, d = features.shape
        values = features.astype(np.float64)
        mean = values.mean(axis=0) if n else np.zeros(d)
        deviations = values - mean
        return Moments(n, mean, deviations.T @ deviations)

    def merged(self, other: Moments) -> Moments:
        if not self.n or not other.n:
            return self if self.n else other
        n = self.n + other.n
        step = other.mean - self.mean
        mean = self.mean + step * (other.n / n)
        comoments = self.comoments + other.comoments
        # the weight comes last: only so is the product symmetric to the bit, as its stored upper half says it is
        comoments += np.outer(step, step) * (self.n * (other.n / n))
        return Moments(n, mean, comoments)

    def encode(self) -> bytes:
        """n, the mean and the upper triangle, as one array of float64."""
        upper = self.comoments[np.triu_indices(len(self.mean))]
        buffer = io.BytesIO()
        np.save(buffer, np.concatenate([[float(self.n)], self.mean, upper]), allow_pickle=False)
        return buffer.getvalue()

    @staticmethod
    def decode(data: bytes) -> Moments:
        values = np.load(io.BytesIO(data), allow_pickle=False)
        # 1 + d + d (d + 1) / 2 numbers
        d = int((np.sqrt(8 * len(values) + 1) - 3) / 2)
        comoments = np.zeros((d, d))
        comoments[np.triu_indices(d)] = values[1 + d :]
        comoments = comoments + np.triu(comoments, 1).T
        return Moments(int(values[0]), values[1 : 1 + d], comoments)


def fold(parts: Iterable[Moments]) -> Moments:
    """All merged, neighbours first, then pairs of pairs; a lone last one moves up. At most log2 of them are held."""
    waiting: list[tuple[int, Moments]] = []
    for part in parts:
        level = 0
        while waiting and waiting[-1][0] == level:
            part = waiting.pop()[1].merged(part)
            level += 1
        waiting.append((level, part))
    if not waiting:
        raise ValueError("there is nothing to merge")
    _, total = waiting.pop()
    while waiting:
        total = waiting.pop()[1].merged(total)
    return total
