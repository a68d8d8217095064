"""Memory that arrays gave back is kept for the next ones."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys
import numpy as np
from tilery.workloads.pointcloud.heap import keep_freed_pages
if sys.argv[1] == "kept" and not keep_freed_pages():
    sys.exit(3)
for _ in range(50):
    np.ones(1 << 20)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def test_fresh_arrays_take_pages_that_are_there() -> None:
    kept, given_back = (
        subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True) for how in ("kept", "given back")
    )
    if kept.returncode == 3:
        pytest.skip("this C library has no mallopt")
    assert int(kept.stdout) < int(given_back.stdout)
