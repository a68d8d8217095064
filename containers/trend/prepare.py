"""Compile the kernels of trends while their image is built, so that no worker has to."""

from tilery import machine_code
from tilery.workloads.trend import line_kernels, robust, seasonal

if __name__ == "__main__":
    for module in (line_kernels, seasonal, robust):
        machine_code.prepare(module)
