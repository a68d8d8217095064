"""What others would write to get a classified LAZ from a LAZ: each peer as a command of its own.

python -m benchmarks.pointcloud.peers NAME IN OUT
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import laspy
import numpy as np

Paths = tuple[str, str]


def decode_encode(source: str, target: str) -> None:
    """laspy with lazrs, and no work between: the floor of any tool that rewrites a file in full."""
    laspy.read(source).write(target)


def _labelled(source: str, target: str, ground_of: Callable[[Any], Any]) -> None:
    las = laspy.read(source)
    las.classification = np.where(ground_of(las), 2, 1).astype(np.uint8)
    las.write(target)


def pysmrf(source: str, target: str) -> None:
    """SMRF with disks to 18 cells, as its paper has them."""
    from pysmrf.core import classify

    def ground(las: Any) -> Any:
        return classify(np.asarray(las.x), np.asarray(las.y), np.asarray(las.z), cellsize=1.0, windows=18).is_ground

    _labelled(source, target, ground)


def csf(source: str, target: str) -> None:
    """Cloth simulation with its defaults."""
    import CSF

    def ground(las: Any) -> Any:
        cloth = CSF.CSF()
        cloth.setPointCloud(np.stack([las.x, las.y, las.z], axis=1))
        on, off = CSF.VecInt(), CSF.VecInt()
        cloth.do_filtering(on, off, exportCloth=False)
        mask = np.zeros(len(las.x), np.bool_)
        mask[np.array(on)] = True
        return mask

    _labelled(source, target, ground)


def fastgc(source: str, target: str) -> None:
    """FAST_GC in its mode for airborne lasers; it writes its own folder."""
    from fastgc.core import run_fastgc

    with tempfile.TemporaryDirectory() as folder:
        run_fastgc(source, folder, "ALS", products=["FAST_GC"])
        made = next(path for path in Path(folder).rglob("*.la[sz]"))
        shutil.copy(made, target)


def whitebox(source: str, target: str) -> None:
    """classify_lidar: ground, vegetation and buildings."""
    import whitebox_workflows

    environment = whitebox_workflows.WbEnvironment()
    classified = environment.lidar.filtering_classification.classify_lidar(input=environment.read_lidar(source))
    environment.write_lidar(classified, target)


def pdal(source: str, target: str) -> None:
    """PDAL's smrf with its defaults."""
    subprocess.run(["pdal", "translate", source, target, "smrf", "--writers.las.forward=all"], check=True)


PEERS: dict[str, tuple[Callable[[str, str], None], str]] = {
    "laspy decode + encode": (decode_encode, "laspy"),
    "pysmrf": (pysmrf, "pysmrf"),
    "cloth-simulation-filter": (csf, "CSF"),
    "fastgc": (fastgc, "fastgc"),
    "whitebox-workflows": (whitebox, "whitebox_workflows"),
    "PDAL smrf": (pdal, ""),
}
"""Name -> the job, and the module that it needs (none: the program `pdal`)."""


def command(name: str, paths: Paths) -> list[str]:
    return [sys.executable, "-m", "benchmarks.pointcloud.peers", name, *paths]


def missing(name: str) -> str:
    """Why a peer cannot be run here; empty if it can."""
    module = PEERS[name][1]
    if not module:
        return "" if shutil.which("pdal") else "pdal is not on PATH"
    return "" if importlib.util.find_spec(module) else f"{module} is not installed (benchmarks/pointcloud/requirements.txt)"


if __name__ == "__main__":
    PEERS[sys.argv[1]][0](sys.argv[2], sys.argv[3])
