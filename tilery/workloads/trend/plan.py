"""What a trend of so many bytes takes: virtual CPUs, time and dollars for each deadline, from measured rates. Light to import.

seconds = start + bytes / (vCPUs x rate),  so  vCPUs = bytes / (rate x (deadline - start))
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path
from typing import Any

from tilery import estimate, names
from tilery.amounts import duration_text, read_bytes, size_text
from tilery.outcomes import BadInput

__all__ = ["DEADLINES_S", "Plan", "plan", "rates", "read_bytes"]

DEADLINES_S = (7200.0, 120.0)
"""Two hours, as the seed promised; two minutes, because it is the same money."""
START_S = 60.0
"""A Fargate task from submission to its first line, and the stages around the work: what no number of workers shortens."""
NETWORK_GB_S = {"fargate": 0.25, "fargate-large": 0.5}
"""Sustained reading from S3 of one task, a careful figure: AWS promises up to 10 Gbit/s in bursts."""
REQUEST_MB = 0.35
GET_DOLLARS = 0.0004 / 1000
VCPU_QUOTA = 6
"""Fargate on-demand vCPUs of a new account (Service Quotas L-3032A538); raised by asking."""
RATES = Path(__file__).with_name("rates.json")


@dataclass(frozen=True, slots=True)
class Line:
    """One deadline. `reached` is False where even without work the start takes longer."""

    deadline_s: float
    lane: str
    workers: int
    vcpus: int
    seconds: float
    gb_per_s: float
    dollars: float
    reached: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Lines for one amount of input, with what they rest on."""

    bytes: float
    rate_gb_s: float
    measured: str
    prices: str
    lines: list[Line]
    notes: list[str]

    def text(self) -> str:
        """The plan as a table for a terminal."""
        head = f"{size_text(self.bytes)} of compressed rasters at {self.rate_gb_s:.3g} GB/s a vCPU ({self.measured})"
        rows = [
            f"{duration_text(line.deadline_s):>12}  {line.vcpus:>7,}  {line.workers:>7,}  {duration_text(line.seconds):>12}"
            f"  {line.gb_per_s:>8.2f}  {line.dollars:>10,.2f}" + ("" if line.reached else "  not reached")
            for line in self.lines
        ]
        columns = f"{'wanted in':>12}  {'vCPUs':>7}  {'workers':>7}  {'takes':>12}  {'GB/s':>8}  {'dollars':>10}"
        return "\n".join([head, columns, *rows, f"Prices: {self.prices}.", *self.notes])


@cache
def rates() -> dict[str, Any]:
    """The measured rates (written by `python -m benchmarks.trend.speed --refit`)."""
    loaded: dict[str, Any] = json.loads(RATES.read_text())
    return loaded


def plan(total_bytes: float, deadlines_s: Sequence[float] = DEADLINES_S, lane: str = "fargate") -> Plan:
    """Workers, time and dollars for `total_bytes` of compressed input, for each deadline.

    Workers are tasks of `lane`, each bound by its CPUs or its network. `BadInput` for an unknown lane or no bytes.

    >>> plan(2e12, [7200]).lines[0].reached
    True
    """
    if lane not in NETWORK_GB_S:
        raise BadInput(f"the lane {lane!r} has no plan; choose one of: {', '.join(NETWORK_GB_S)}")
    if not total_bytes > 0 or any(not deadline > 0 for deadline in deadlines_s):
        raise BadInput("give an amount above 0, such as --bytes 2TB, and deadlines above 0")
    rate = float(rates()["compressed_gb_per_vcpu_s"])
    vcpus = names.BATCH_LANES[lane].vcpus
    worker = min(rate * vcpus, NETWORK_GB_S[lane])
    lines = [_line(total_bytes, deadline, lane, vcpus, worker) for deadline in deadlines_s]
    prices = estimate.table()["prices"]
    notes = [
        f"S3: {total_bytes / 1e6 / REQUEST_MB:,.0f} requests of {REQUEST_MB} MB are included; transfer in a region is free."
    ]
    if rate * vcpus > NETWORK_GB_S[lane]:
        notes.append(f"The network ({NETWORK_GB_S[lane]} GB/s a task) is the limit, not the CPUs.")
    if any(line.vcpus > VCPU_QUOTA for line in lines):
        notes.append(f"A new account may use {VCPU_QUOTA} Fargate vCPUs at once: ask for more in Service Quotas (L-3032A538).")
    return Plan(total_bytes, rate, str(rates()["measured"]), f"{prices['region']}, {prices['date']}", lines, notes)


def _line(total: float, deadline: float, lane: str, vcpus: int, worker_gb_s: float) -> Line:
    left = deadline - START_S
    gigabytes = total / 1e9
    workers = max(1, ceil(gigabytes / worker_gb_s / left)) if left > 0 else max(1, ceil(gigabytes / worker_gb_s))
    seconds = START_S + gigabytes / (worker_gb_s * workers)
    paid = workers * seconds * estimate.dollars_per_second(lane) + total / 1e6 / REQUEST_MB * GET_DOLLARS
    throughput = gigabytes / (seconds - START_S)
    return Line(deadline, lane, workers, workers * vcpus, seconds, throughput, round(paid, 2), seconds <= deadline * 1.0001)
