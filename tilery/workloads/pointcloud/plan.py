"""What so many bytes of LAZ would take on AWS: shards, tiles, jobs, hours and dollars, without data. Light to import.

Everything follows from the stages as they are deployed and from measured rates (rates.json): shards and tiles cut a drop, jobs
pack them, each job keeps one core busy, and SubmitJob, not the number of workers, is what bounds a very wide run.

    seconds of a stage = start + max(CPU-seconds / workers, jobs / rate of submission)
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
from tilery.packing import MAX_ITEMS
from tilery.stages import AT_ONCE
from tilery.workloads.pointcloud import sheets
from tilery.workloads.pointcloud.options import PointCloudOptions
from tilery.workloads.pointcloud.workload import PointCloud

__all__ = ["DEADLINES_S", "Plan", "plan", "rates", "read_bytes"]

DEADLINES_S = (86_400.0, 7 * 86_400.0)
WORKERS = (100, 1_000, 10_000)
"""Workers at once; 10,000 is what one map of Step Functions runs."""
RUN_POINTS = 2 * 10**10
"""Points of one run: `plan` and `publish` read a marker of each of its shards, tiles and sheets, in at most 900 s."""
REQUEST_S = 0.02
"""One request of a function to the store and back; `publish` has as many under way as it has readers."""
SUBMITS_PER_S = 50
"""SubmitJob of one account."""
START_S = 60.0
"""A container from submission to its first line."""
TRANSITIONS = {"tile": 2, "process": 3, "merge": 2, "finish": 2}
"""State transitions of one child of each map, its start included (statemachines/pipeline.asl.json)."""
RUN_TRANSITIONS = 40
"""State transitions of a run around its maps."""
BYTES_A_POINT = 4
"""A point weighs at least this much in a shard (shards.py)."""
WORK_DAYS = 14
"""How long intermediate objects are kept."""
RATES = Path(__file__).with_name("rates.json")

PRICES_OF = "us-east-1, 2026-11-01, on demand"
PRICES = {
    "state_transition": 0.025 / 1000,
    "s3_put": 0.005 / 1000,
    "s3_get": 0.0004 / 1000,
    "s3_gb_month": 0.023,
    "lambda_request": 0.20 / 1e6,
}
"""Dollars, on demand, of what rates.json of tilery does not list; workers are priced there."""


@dataclass(frozen=True, slots=True)
class StagePlan:
    """One stage of all runs together."""

    name: str
    items: int
    jobs: int
    cpu_hours: float
    lane: str


@dataclass(frozen=True, slots=True)
class Line:
    """Wall time with so many workers at once."""

    workers: int
    seconds: float
    submits_per_s: float
    """Jobs that are submitted to Batch a second, on average, while tiles are processed."""
    bound_by_submission: bool
    wanted_s: float = 0.0
    """The deadline that asked for this line; 0 for the fixed ones."""

    @property
    def reached(self) -> bool:
        return not self.wanted_s or self.seconds <= self.wanted_s * 1.0001


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole of it, with what it rests on."""

    bytes: float
    points: float
    runs: int
    shards: int
    tiles: int
    sheets: int
    stages: list[StagePlan]
    transitions: int
    requests: dict[str, int]
    dollars: dict[str, float]
    lines: list[Line]
    measured: str
    prices: str
    notes: list[str]

    def text(self) -> str:
        """The plan as tables for a terminal."""
        rows = [
            f"{size_text(self.bytes)} of LAZ, {self.points:,.0f} points, in {self.runs:,} runs of at most {RUN_POINTS:,}; "
            f"{self.shards:,} shards, {self.tiles:,} tiles, {self.sheets:,} sheets",
            f"Rates: {self.measured}",
            "",
            f"{'stage':>8}  {'items':>12}  {'jobs':>10}  {'CPU hours':>10}  where",
            *(f"{s.name:>8}  {s.items:>12,}  {s.jobs:>10,}  {s.cpu_hours:>10,.0f}  {s.lane}" for s in self.stages),
            "",
            f"{'workers':>8}  {'takes':>10}  {'jobs submitted a second':>24}",
            *(self._line(line) for line in self.lines),
            "",
            f"{self.transitions:,} state transitions; " + ", ".join(f"{n:,} {name}" for name, n in self.requests.items()),
            *(f"{dollars:>12,.0f} dollars  {name}" for name, dollars in self.dollars.items()),
            f"{sum(self.dollars.values()):>12,.0f} dollars  in all",
            f"Prices: {self.prices}.",
            *self.notes,
        ]
        return "\n".join(rows)

    @staticmethod
    def _line(line: Line) -> str:
        said = f" of {SUBMITS_PER_S}" + (", which is the limit" if line.bound_by_submission else "")
        wanted = f"  wanted in {duration_text(line.wanted_s)}" + ("" if line.reached else ", not reached")
        row = f"{line.workers:>8,}  {duration_text(line.seconds):>10}  {line.submits_per_s:>24.1f}{said}"
        return row + (wanted if line.wanted_s else "")


@cache
def rates() -> dict[str, Any]:
    """The measured rates (CPU-seconds of `python -m benchmarks.pointcloud.memory`, sizes of its intermediate objects)."""
    loaded: dict[str, Any] = json.loads(RATES.read_text())
    return loaded


def plan(total_bytes: float, deadlines_s: Sequence[float] = DEADLINES_S, options: PointCloudOptions | None = None) -> Plan:
    """Shards, tiles, jobs, wall time and dollars for `total_bytes` of LAZ. `BadInput` for no bytes.

    >>> made = plan(100e12)
    >>> made.runs, made.lines[-1].reached
    (734, True)
    """
    if not total_bytes > 0 or any(not deadline > 0 for deadline in deadlines_s):
        raise BadInput("give an amount above 0, such as --bytes 100TB, and deadlines above 0")
    options, known = options or PointCloudOptions(), rates()
    points = total_bytes / known["bytes_per_point"]
    runs = ceil(points / RUN_POINTS)
    shards = max(runs, ceil(max(total_bytes, points * BYTES_A_POINT) / (options.shard_mib * 2**20)))
    tiles = max(runs, ceil(points / known["points_per_m2"] / (options.tile_area_km2 * 1e6)))
    cells = points / known["points_per_m2"] / options.resolution_m**2
    sheet_count = max(runs, ceil(cells / sheets.SIDE**2))
    stages = _stages(points, runs, shards, tiles, sheet_count, cells)
    batch_s = sum(stage.cpu_hours for stage in stages if stage.name == "process") * 3600
    jobs = next(stage.jobs for stage in stages if stage.name == "process")
    transitions = sum(stage.jobs * TRANSITIONS[stage.name] for stage in stages if stage.name in TRANSITIONS)
    transitions += runs * RUN_TRANSITIONS
    requests = _requests(stages, shards, tiles)
    lines = [_at(workers, stages) for workers in WORKERS]
    lines += [_within(deadline, stages) for deadline in deadlines_s]
    return Plan(
        total_bytes,
        points,
        runs,
        shards,
        tiles,
        sheet_count,
        stages,
        transitions,
        requests,
        _dollars(points, stages, batch_s + jobs * START_S, transitions, requests),
        lines,
        str(known["measured"]),
        PRICES_OF,
        _notes(total_bytes, runs, lines),
    )


def _stages(points: float, runs: int, shards: int, tiles: int, sheet_count: int, cells: float) -> list[StagePlan]:
    known, stages = rates(), PointCloud.stages
    fan = stages["merge"].fan_in
    merges, left = 0, ceil(tiles / runs)
    while left > 1:
        left = ceil(left / fan)
        merges += left * runs
    halo = 1 + known["halo_share"]
    made = []
    finish_s = points * known["finish_us"] / 1e6 + cells * known["cell_us"] / 1e6
    for name, items, work, cpu_s in (
        ("tile", shards, points, points * known["tile_us"] / 1e6),
        ("process", tiles, points * halo, points * known["process_us"] / 1e6),
        ("merge", merges, 0.0, 0.0),
        ("finish", shards + sheet_count, points + cells, finish_s),
    ):
        per_job = stages[name].work_per_job  # type: ignore[index]
        jobs = items if name == "merge" else min(items, max(ceil(items / MAX_ITEMS), ceil(work / per_job), runs))
        lane = "fargate" if name == "process" else f"lambda, {names.FUNCTIONS[name].memory_mib} MiB"
        made.append(StagePlan(name, items, jobs, (cpu_s + 0.05 * items) / 3600, lane))
    markers = sum(stage.items for stage in made)  # each is read once, when its stage is complete
    publish_s = runs * known["publish_s"] + markers * REQUEST_S / AT_ONCE
    return [*made, StagePlan("publish", runs, runs, publish_s / 3600, f"lambda, {names.FUNCTIONS['publish'].memory_mib} MiB")]


def _requests(stages: list[StagePlan], shards: int, tiles: int) -> dict[str, int]:
    """PUT and GET of the store: fragments, labels and layers move between shards and tiles; every item leaves a marker."""
    moved = int(shards * rates()["tiles_per_shard"])
    markers = sum(stage.items for stage in stages)
    reads = sum(stage.jobs for stage in stages) * 12
    return {"PUT and LIST": 2 * moved + 3 * tiles + 3 * shards + markers, "GET": 2 * moved + 6 * shards + 8 * tiles + reads}


def _dollars(
    points: float, stages: list[StagePlan], batch_s: float, transitions: int, requests: dict[str, int]
) -> dict[str, float]:
    table, known = estimate.table()["prices"], rates()
    functions = {stage.name: stage for stage in stages if stage.name != "process"}
    gib_s = sum(stage.cpu_hours * 3600 * names.FUNCTIONS[name].memory_mib / 1024 for name, stage in functions.items())
    calls = sum(stage.jobs for stage in functions.values())
    shuffled = points * (known["fragment_bytes_per_point"] + known["layer_bytes_per_point"] + known["bytes_per_point"]) / 1e9
    return {
        "Fargate, tiles processed": round(batch_s * estimate.dollars_per_second("fargate"), 2),
        "Lambda, all other stages": round(gib_s * table["lambda_gib_s"] + calls * PRICES["lambda_request"], 2),
        "Step Functions": round(transitions * PRICES["state_transition"], 2),
        "S3 requests": round(requests["PUT and LIST"] * PRICES["s3_put"] + requests["GET"] * PRICES["s3_get"], 2),
        f"S3, intermediate objects for {WORK_DAYS} days": round(shuffled * PRICES["s3_gb_month"] * WORK_DAYS / 30.4, 2),
    }


def _at(workers: int, stages: list[StagePlan], wanted_s: float = 0.0) -> Line:
    """Wall time with so many workers, stage after stage."""
    total, submits, bound = 0.0, 0.0, False
    for stage in stages:
        busy = START_S + stage.cpu_hours * 3600 / min(workers, max(1, stage.jobs))
        if stage.name == "process":
            busy += START_S * stage.jobs / workers  # every job starts a container
            bound = stage.jobs / SUBMITS_PER_S > busy
            busy = max(busy, stage.jobs / SUBMITS_PER_S)
            submits = stage.jobs / busy
        total += busy
    return Line(workers, total, submits, bound, wanted_s)


def _within(deadline_s: float, stages: list[StagePlan]) -> Line:
    """The fewest workers that make a deadline, or the most there can be."""
    low, high = 1, WORKERS[-1]
    while low < high:
        middle = (low + high) // 2
        if _at(middle, stages).seconds <= deadline_s:
            high = middle
        else:
            low = middle + 1
    return _at(low, stages, deadline_s)


def _notes(total_bytes: float, runs: int, lines: list[Line]) -> list[str]:
    vcpus = names.BATCH_LANES["fargate"].vcpus
    most = max(line.workers for line in lines)
    notes = [
        "One core of each worker is counted as busy; reading from S3 in the same region is free.",
        f"The classified files cost {total_bytes / 1e9 * PRICES['s3_gb_month']:,.0f} dollars a month to keep.",
        f"Ask for quotas first: {most * vcpus:,} Fargate vCPUs (L-3032A538) and {most:,} concurrent Lambda executions "
        "(L-B99A9384) for the widest line; map_concurrency in infra/settings.py is the same number.",
    ]
    if runs > 1:
        size = size_text(RUN_POINTS * rates()["bytes_per_point"])
        notes.append(
            f"Drop it as datasets of at most {size}: one function puts a run's products together. They run side by side."
        )
    return notes
