"""What so many bytes of pictures would take on AWS: workers, time, requests and dollars, without data. Light to import.

    seconds = start + work / (vCPUs x rate) + merge + place

where `place` is bound by requests: each piece is an object of its own (docs/decisions/0012).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from tilery import estimate, names
from tilery.amounts import duration_text, read_bytes, size_text
from tilery.outcomes import BadInput
from tilery.workloads.images import place
from tilery.workloads.images.lists import EACH
from tilery.workloads.images.workload import Images

__all__ = ["DEADLINES_S", "Plan", "plan", "read_bytes"]

DEADLINES_S = (7200.0, 600.0)
PICTURE_BYTES = 100_000
"""Of a photograph of 512 x 512 as JPEG, and a little more."""
PIECES = (1, 4, 16)
"""Pieces of a picture: none split, one split in four, two."""
START_S = 60.0
"""A Fargate task from submission to its first line, and the functions around the work."""
ROWS_PER_S = 20_000.0
"""Rows of the index that one merge gathers: 46 microseconds each, measured over 100,000."""
REQUESTS_PER_S = 600.0
"""Of one function: 16 writers, 25 ms a small object. Not measured on S3."""
PLACERS = 6
"""Functions that place at once: `MaxConcurrency` of the state machine's map."""
PREFIX_PUTS_PER_S = 3500.0
"""What S3 promises for one prefix (user guide, "Best practices design patterns"); a run's products have one."""
PUT_DOLLARS, GET_DOLLARS = 0.005 / 1000, 0.0004 / 1000
LAMBDA_GIB = names.FUNCTIONS["finish"].memory_mib / 1024


@dataclass(frozen=True, slots=True)
class Results:
    """What it takes to publish, at so many pieces a picture."""

    pieces: int
    objects: float
    functions: int
    seconds: float
    dollars: float


@dataclass(frozen=True, slots=True)
class Line:
    """One deadline for making the pictures."""

    deadline_s: float
    vcpus: int
    workers: int
    seconds: float
    dollars: float
    reached: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Making and publishing of one amount of input, with what they rest on."""

    bytes: float
    pictures: float
    measured: str
    prices: str
    lines: list[Line]
    results: list[Results]
    notes: list[str]

    def text(self) -> str:
        """The plan as tables for a terminal."""
        head = f"{size_text(self.bytes)}, about {self.pictures:,.0f} pictures of {PICTURE_BYTES // 1000} kB ({self.measured})"
        made = [
            f"{duration_text(line.deadline_s):>12}  {line.vcpus:>7,}  {line.workers:>7,}  {duration_text(line.seconds):>12}"
            f"  {line.dollars:>10,.2f}" + ("" if line.reached else "  not reached")
            for line in self.lines
        ]
        placed = [
            f"{one.pieces:>12}  {one.objects:>14,.0f}  {one.functions:>9}  {duration_text(one.seconds):>12}"
            f"  {one.dollars:>10,.2f}"
            for one in self.results
        ]
        return "\n".join(
            [
                head,
                f"{'made in':>12}  {'vCPUs':>7}  {'workers':>7}  {'takes':>12}  {'dollars':>10}",
                *made,
                "",
                f"{'pieces each':>12}  {'results':>14}  {'functions':>9}  {'published in':>12}  {'dollars':>10}",
                *placed,
                f"Prices: {self.prices}.",
                *self.notes,
            ]
        )


def plan(total_bytes: float, deadlines_s: Sequence[float] = DEADLINES_S) -> Plan:
    """Workers, time and dollars for `total_bytes` of pictures, for each deadline; and of their results. `BadInput` for nothing.

    >>> plan(50e9).pictures
    500000.0
    """
    if not total_bytes > 0 or any(not deadline > 0 for deadline in deadlines_s):
        raise BadInput("give an amount above 0, such as --bytes 50GB, and deadlines above 0")
    pictures = total_bytes / PICTURE_BYTES
    known, prices = estimate.table()["rates"]["images"], estimate.table()["prices"]
    lines = [_line(total_bytes, pictures, deadline) for deadline in deadlines_s]
    results = [_results(pictures, pieces, total_bytes) for pieces in PIECES]
    notes = [
        f"Publishing comes after making, and after {duration_text(pictures / ROWS_PER_S)} for the index. Up to {place.ALONE:,} "
        "results one function publishes; more are placed by several.",
        f"S3 promises {PREFIX_PUTS_PER_S:,.0f} writes a second below one prefix, and more only while a load lasts.",
        "Requests are the larger part of what it costs: fewer pieces are cheaper, a faster machine is not.",
    ]
    return Plan(total_bytes, pictures, str(known["measured"]), f"{prices['region']}, {prices['date']}", lines, results, notes)


def _line(total: float, pictures: float, deadline: float) -> Line:
    lane = names.BATCH_LANES["fargate"]
    rate = float(estimate.table()["rates"]["images"]["sharded"]["units_per_s"])  # of two cores, as the lane has
    work, left = total + EACH * pictures, deadline - START_S
    most = max(1, ceil(work / Images.stages["process"].work_per_job))
    workers = min(most, max(1, ceil(work / rate / left))) if left > 0 else most
    seconds = START_S + work / rate / workers
    dollars = workers * seconds * estimate.dollars_per_second("fargate") + pictures * GET_DOLLARS
    return Line(deadline, workers * lane.vcpus, workers, seconds, round(dollars, 2), seconds <= deadline * 1.0001)


def _results(pictures: float, pieces: int, total: float) -> Results:
    objects = pictures * pieces
    functions = 1
    if objects > place.ALONE:
        functions = min(PLACERS, ceil((objects + place.EACH_MB * total / 1e6) / Images.stages["place"].work_per_job))
    seconds = objects / min(functions * REQUESTS_PER_S, PREFIX_PUTS_PER_S)
    busy = functions * seconds * LAMBDA_GIB * float(estimate.table()["prices"]["lambda_gib_s"])
    return Results(pieces, objects, functions, seconds, round(objects * PUT_DOLLARS + busy, 2))
