"""Whether points lie where their file's header says.

LAZ has no checksums: of a damaged chunk a decoder makes points, millions of kilometres apart. A header may be a little wrong,
as some programs do not bring it up to date; points that lie further away from it than it is wide are damage.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tilery.outcomes import BadInput
from tilery.workloads.pointcloud.las_header import LasFile

LEAST_REACH = 10_000.0
"""Units of the file by which its points may lie outside the bounds of even a small one."""


def refuse_far_points(file: LasFile, first: int, axes: Sequence[NDArray[np.int32]]) -> None:
    """`BadInput` naming the file and the first point whose stored x, y or z (`axes`) is far outside of the header's bounds.

    `first` is the first point's index in the file. A header that says nothing (all bounds 0, or turned round) is not asked.
    """
    sizes = [high - low for low, high in zip(file.mins, file.maxs, strict=True)]
    if min(sizes) < 0 or max(sizes) == 0 or not len(axes[0]):
        return
    reach = max(LEAST_REACH, *sizes)
    for axis, stored, scale, offset, low, high in zip(
        "xyz", axes, file.scales, file.offsets, file.mins, file.maxs, strict=True
    ):
        ends = sorted(((low - reach - offset) / scale, (high + reach - offset) / scale))
        if ends[0] <= int(stored.min()) and int(stored.max()) <= ends[1]:
            continue
        at = int(np.flatnonzero((stored < ends[0]) | (stored > ends[1]))[0])
        raise BadInput(
            f"{file.name} is damaged: its point {first + at:,} has {axis} = {int(stored[at]) * scale + offset:,.2f}, and its "
            f"header says {low:,.2f} to {high:,.2f}. Copy the file again from where it came from; if the header is wrong, "
            "repair it first (lasinfo -repair, or PDAL)."
        )
