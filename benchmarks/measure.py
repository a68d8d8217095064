"""Runs a command and tells what it cost: wall time, CPU-seconds of it and all its children, and the largest process."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from statistics import median

import psutil

SUBREAPER = 36
"""PR_SET_CHILD_SUBREAPER of linux/prctl.h."""

LOOK_S = 0.2
"""Between two looks at the processes."""


@dataclass(frozen=True, slots=True)
class Cost:
    wall_s: float
    cpu_s: float
    peak_mib: float
    """Of the largest single process."""
    code: int
    output: str


def cost_of(command: Sequence[str]) -> Cost:
    """Run a command to its end, with everything that it starts.

    A process in between adopts what the command leaves behind (PR_SET_CHILD_SUBREAPER), so that no worker is forgotten.
    """
    measured = subprocess.run(
        [sys.executable, "-m", "benchmarks.measure", *command], capture_output=True, text=True, check=True
    )
    *output, last = measured.stdout.splitlines(keepends=True)
    return Cost(**json.loads(last), output="".join(output) + measured.stderr)


def measure(command: Sequence[str]) -> dict[str, float]:
    """What `cost_of` runs: the command's output goes to our own."""
    ctypes.CDLL(None, use_errno=True).prctl(SUBREAPER, 1, 0, 0, 0)
    begun = time.perf_counter()
    seen: dict[tuple[int, float], float] = {}
    with subprocess.Popen(command) as process:
        while process.returncode is None:
            _look(seen)
            with suppress(subprocess.TimeoutExpired):
                process.wait(LOOK_S)
    code, wall = process.returncode, time.perf_counter() - begun
    with suppress(ChildProcessError):
        while True:
            os.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = max(used.ru_utime + used.ru_stime, sum(seen.values()))
    return {"wall_s": wall, "cpu_s": cpu, "peak_mib": used.ru_maxrss / 1024, "code": code}


def _look(seen: dict[tuple[int, float], float]) -> None:
    """Note the CPU-seconds of every process below us: a parent may end without having waited for a child (Spark's workers do),
    and then the kernel tells nobody what the child used."""
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            times = one.cpu_times()
            seen[one.pid, one.create_time()] = times.user + times.system


def middle(costs: Sequence[Cost]) -> Cost:
    """The medians of several runs of one command."""
    return Cost(
        median(cost.wall_s for cost in costs),
        median(cost.cpu_s for cost in costs),
        max(cost.peak_mib for cost in costs),
        max(cost.code for cost in costs),
        costs[-1].output,
    )


def machine() -> str:
    """The date and what was measured on, for the table."""
    model = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor())
    return f"{date.today()}, {os.cpu_count()} cores of {model}, Python {platform.python_version()}"


def _cpuinfo() -> list[str]:
    try:
        with open("/proc/cpuinfo") as file:
            return file.readlines()
    except OSError:
        return []


if __name__ == "__main__":
    figures = measure(sys.argv[1:])
    print(flush=True)
    print(json.dumps(figures))
