"""The registry is light: control functions import it in a zip of a few megabytes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tilery import registry

ROOT = Path(__file__).resolve().parents[2]

HEAVY = ("numpy", "scipy", "laspy", "rasterio", "PIL")


def test_importing_every_workload_loads_no_numpy() -> None:
    loads = "[registry.load(name) for name in registry.names()]"
    code = f"import sys; from tilery import registry; {loads}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_function_that_traces_nothing_does_not_load_what_writes_traces() -> None:
    code = "import sys; from functions.check.handler import handler; print(callable(handler), 'aws_xray_sdk' in sys.modules)"
    given = {**os.environ, "POWERTOOLS_TRACE_DISABLED": "true"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=given)
    assert done.stdout.split() == ["True", "False"]


MODULES = {"opencv-python-headless": "cv2", "pillow": "PIL", "scikit-learn": "sklearn"}
OPTIONAL = {"jpeglib": "cctv", "numba": "pointcloud"}
"""What a workload does without, more slowly or with less."""


@pytest.mark.parametrize("name", registry.WORKLOADS)
def test_a_workload_that_lacks_a_module_is_not_offered(name: str) -> None:
    """`make demo` installs the point cloud alone; a drop folder of pictures then took them and failed with a broken pipe."""
    lines = (ROOT / "containers" / name / "requirements.txt").read_text().splitlines()
    packages = {line.partition("[")[0] for line in lines if line and line[0] not in "#-"}
    optional = {package for package, workload in OPTIONAL.items() if workload == name}
    wanted = {MODULES.get(package, package.replace("-", "_")) for package in packages - optional}
    assert set(registry.load(name).needs) == wanted
