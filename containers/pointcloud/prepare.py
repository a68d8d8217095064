"""Compile the kernels of the point cloud workload while its image is built, so that no worker has to."""

from tilery.workloads.pointcloud import compiled


def main() -> None:
    """Leave the compiled kernels in the folder that the image's environment names."""
    compiled.prepare(compiled.LEAST_TO_COMPILE)


if __name__ == "__main__":
    main()
