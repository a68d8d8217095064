"""Packs a stage's items into jobs of about equal work.

Jobs are packed by cost, not by count: SubmitJob is limited to 50 a second per account, and the slowest job decides when a
stage ends.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from math import ceil

from tilery.workload import Item

MAX_ITEMS = 50
SMALLEST = 16
"""A spread job is at least this fraction of a full one."""


def pack(items: Sequence[Item], work_per_job: float, max_items: int = MAX_ITEMS, spread: int = 1) -> list[list[Item]]:
    """Items in as few jobs as `work_per_job` and `max_items` allow, levelled: longest first, each to the least loaded job.

    A small stage is spread over up to `spread` jobs, so that it does not wait for one worker; but not into jobs of less than
    a sixteenth of `work_per_job`, which would mostly start and stop.

    Deterministic in the items, whatever their order; a job keeps its items sorted by id. The least loaded job of the
    minimal number gets at most 4/3 of the best possible maximum (Graham 1969, LPT).

    >>> [[item["id"] for item in job] for job in pack([{"id": i, "work": w} for i, w in zip("abcd", (9, 5, 4, 1))], 10)]
    [['a', 'd'], ['b', 'c']]
    """
    if not items:
        return []
    total = sum(float(item["work"]) for item in items)
    useful = min(spread, ceil(SMALLEST * total / work_per_job))
    count = min(len(items), max(ceil(len(items) / max_items), ceil(total / work_per_job), useful, 1))
    loads: list[tuple[float, int]] = [(0.0, job) for job in range(count)]
    jobs: list[list[Item]] = [[] for _ in range(count)]
    for item in sorted(items, key=lambda item: (-float(item["work"]), str(item["id"]))):
        load, job = heapq.heappop(loads)
        jobs[job].append(item)
        if len(jobs[job]) < max_items:
            heapq.heappush(loads, (load + float(item["work"]), job))
    return [sorted(job, key=lambda item: str(item["id"])) for job in jobs if job]
