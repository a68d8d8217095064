"""Trees, compiled: each point walks down every tree. Kept alone in its file, as numba caches compiled code per file;
compiled when it is imported, which an image does while it is built."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Ints = NDArray[np.int32]


@njit(f"int32[:, ::1](int32[:, ::1], {', '.join(7 * ['int32[::1]'])})", cache=True, nogil=True)
def scores(
    described: Ints, roots: Ints, feature: Ints, threshold: Ints, left: Ints, right: Ints, value: Ints, base: Ints
) -> Any:
    """Scores (int32, n x classes) of described points (int32, n x features)."""
    count, classes = described.shape[0], base.shape[0]
    total = np.empty((count, classes), np.int32)
    for point in range(count):
        for one in range(classes):
            total[point, one] = base[one]
        for tree in range(roots.shape[0]):
            node = roots[tree]
            while feature[node] >= 0:
                node = left[node] if described[point, feature[node]] <= threshold[node] else right[node]
            total[point, tree % classes] += value[node]
    return total
