"""The registry is light: control functions import it in a zip of a few megabytes."""

import os
import subprocess
import sys

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
