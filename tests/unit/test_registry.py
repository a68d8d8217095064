"""The registry is light: control functions import it in a zip of a few megabytes."""

import subprocess
import sys

HEAVY = ("numpy", "scipy", "laspy", "rasterio", "PIL")


def test_importing_every_workload_loads_no_numpy() -> None:
    loads = "[registry.load(name) for name in registry.names()]"
    code = f"import sys; from tilery import registry; {loads}; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
