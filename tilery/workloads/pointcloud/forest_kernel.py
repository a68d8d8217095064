"""Trees, compiled: each point walks down every tree."""

from __future__ import annotations

from typing import Any

from tilery.machine_code import NOTHING, Array, kernel

ROWS, NODES = Array("int32", 2), Array("int32", readonly=True)


@kernel(NOTHING, ROWS, NODES, NODES, NODES, NODES, NODES, NODES, NODES, ROWS)
def scores(
    described: Any, roots: Any, feature: Any, threshold: Any, left: Any, right: Any, value: Any, base: Any, total: Any
) -> None:
    """Scores (int32, n x classes) of described points (int32, n x features), into `total`."""
    count, classes = described.shape[0], base.shape[0]
    for point in range(count):
        for one in range(classes):
            total[point, one] = base[one]
        for tree in range(roots.shape[0]):
            node = roots[tree]
            while feature[node] >= 0:
                node = left[node] if described[point, feature[node]] <= threshold[node] else right[node]
            total[point, tree % classes] += value[node]
