"""The lambda lane: a small drop done in one worker, leaving in the last stage's folder what the stages would have left.

Products that are too many for `publish` are placed by many workers all the same.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tilery import device, keys, registry, stages, worker
from tilery.outcomes import Outcome, OutOfMemory, Transient
from tilery.progress import Progress, Show, shown
from tilery.run import Run
from tilery.store.port import Store


def whole(store: Store, tenant: str, run_id: str) -> None:
    """Do every stage of a run here. A run whose last stage is complete already, from any run before, does nothing."""
    run = stages.read_run(store, tenant, run_id)
    links = stages.chain(store, run)
    last = stages.last_made(links)
    if store.head(keys.join(last.folder, "complete.json")) is not None:
        return
    on = device.choose(str(run.options.get("device", "auto")), registry.load(run.workload).gpu)
    begun = time.perf_counter()
    show = shown(store, run)
    with tempfile.TemporaryDirectory(prefix="tilery-") as scratch:
        work = worker.make_work(store, run, last, links, Path(scratch), on.kind, Progress("", 1, show).of_item(0, "whole"))
        try:
            done = registry.load(run.workload).whole(work, stages.read_items(store, links[0]))
        except Exception as error:
            raise worker.as_outcome(error, {"id": "whole", "work": 0}) from error
    if done is None:
        _every_stage(store, run, show)
        stages.note_whole(store, run, 0.0)
        return
    seconds = round(time.perf_counter() - begun, 3)
    stages.write_items(store, last, [one.item for one in done])
    for one in done:
        stages.mark_done(store, last, str(one.item["id"]), one.value, seconds / len(done), on)
    stages.complete(store, run, last)
    stages.note_whole(store, run, seconds)


def _job(store: Store, run: Run, stage: str, key: str, show: Show) -> None:
    """What a map does with a job: failed items are left to `check`, which knows what the run tolerates."""
    try:
        worker.run_job(store, run.tenant, run.run_id, stage, key, show=show)
    except (OutOfMemory, Transient):
        raise
    except Outcome:
        return  # the worker has logged and marked each


def _part(show: Show, number: int, count: int) -> Show:
    """Shows how far one of some jobs is as the share of all of them."""
    return lambda stage, share: show(stage, (number + share) / count)


def _every_stage(store: Store, run: Run, show: Show) -> None:
    while (plan := stages.plan(store, run, worker.planning_work)).stage not in ("place", "publish"):
        for number, job in enumerate(stages.read_lines(store, plan.jobs)):
            _job(store, run, plan.stage, job["key"], _part(show, number, plan.count))
        stages.check(store, run, plan.stage, plan.round, redriven=False)
