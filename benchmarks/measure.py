"""Runs a command and tells what it cost: wall time, CPU-seconds of it and all its children, and the largest process."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median


@dataclass(frozen=True, slots=True)
class Cost:
    wall_s: float
    cpu_s: float
    peak_mib: float
    """Of the largest single process."""
    code: int
    output: str


def cost_of(command: Sequence[str]) -> Cost:
    """Run a command to its end. CPU time counts every descendant that was waited for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    return Cost(time.perf_counter() - begun, cpu, used.ru_maxrss / 1024, process.returncode, output)


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
