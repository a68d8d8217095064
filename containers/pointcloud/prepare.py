"""Compile the kernels of the point cloud workload while its image is built, so that no worker has to.

numba finds compiled code by the time stamp of its source, which an image keeps in whole seconds only.
"""

import importlib
import os

from tilery.workloads.pointcloud import class_layer, compiled, learned


def main() -> None:
    """Leave the compiled kernels in the folder that the image's environment names."""
    os.environ[class_layer.NUMBA_FOLDER] = os.environ.pop(class_layer.KEPT)
    for module in (class_layer.KERNELS, compiled.KERNELS, learned.KERNEL):
        os.utime(module.replace(".", os.sep) + ".py", (1_700_000_000, 1_700_000_000))
    class_layer.prepare(class_layer.LEAST_TO_COMPILE)
    for module in (compiled.KERNELS, learned.KERNEL):
        importlib.import_module(module)


if __name__ == "__main__":
    main()
