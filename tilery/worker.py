"""Works through one packed job: every item is tried, each leaves its own marker, finished ones are skipped.

The same loop runs in the Lambda functions tile, merge and finish, and in a Batch container (containers/entrypoint.py).
"""

from __future__ import annotations

import errno
import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tilery import device, keys, registry, stages
from tilery.options import parse
from tilery.outcomes import BadInput, Outcome, OutOfMemory, Transient
from tilery.progress import Progress, Show
from tilery.run import Run
from tilery.stages import Link
from tilery.store.disk import DiskFull
from tilery.store.port import Changed, NotFound, Store
from tilery.workload import Done, Item, StageName, Work, Workload

log = logging.getLogger("tilery.worker")


@dataclass(frozen=True, slots=True)
class JobResult:
    done: int
    skipped: int


def _severity(failure: Outcome) -> int:
    """What a job with several failures ends as: whatever a larger lane or another try can mend comes first."""
    order: tuple[type[Outcome], ...] = (OutOfMemory, Transient, Outcome)
    return next((rank for rank, kind in enumerate(order) if type(failure) is kind), len(order))


def make_work(
    store: Store,
    run: Run,
    link: Link,
    links: list[Link],
    scratch: Path,
    on: str,
    told: Callable[[float], None] = lambda share: None,
) -> Work[Any]:
    """What a verb of this stage may touch."""
    workload = registry.load(run.workload)
    return Work(
        run=run,
        options=parse(workload.Options, run.options, "the run's options"),
        store=store,
        stage=link.name,
        folders={before.name: before.folder for before in links[: links.index(link) + 1]},
        missing={before.name: frozenset(before.missing) for before in links},
        finished=lambda stage: _finished(store, links, stage),
        scratch=scratch,
        device=on,
        results=keys.result(run.tenant, run.workload, run.dataset, run.run_id),
        progress=told,
    )


def _finished(store: Store, links: list[Link], stage: StageName) -> list[Done]:
    link = next(link for link in links if link.name == stage)
    return stages.done_items(store, link, stages.last_round(store, link))


def planning_work(store: Store, run: Run, link: Link, links: list[Link]) -> Work[Any]:
    """The `Work` for listing a stage's items: no scratch folder is needed, nothing is computed."""
    return make_work(store, run, link, links, Path(tempfile.gettempdir()), "cpu")


def run_job(
    store: Store,
    tenant: str,
    run_id: str,
    stage: str,
    job: str,
    stop: Callable[[], bool] = lambda: False,
    show: Show | None = None,
) -> JobResult:
    """Do a job's items that have no marker yet. Raises the worst outcome after all items were tried.

    `stop` is asked before each item; when true, `Transient` ends the job early with the finished items marked. `show` is
    told how far the job is.
    """
    run = stages.read_run(store, tenant, run_id)
    links = stages.chain(store, run)
    link = next(link for link in links if link.name == stage)
    items: list[Item] = stages.read_lines(store, job)
    finished = stages.finished(store, link, [str(item["id"]) for item in items])
    on = device.choose(_asked(run, stage), registry.load(run.workload).gpu)
    log.info("job %s: %d items, %d already done, device %s (%s)", job, len(items), len(finished), on.kind, on.reason)
    failures: list[Outcome] = []
    skipped = 0
    progress = Progress(stage, len(items), show)
    for number, item in enumerate(items, 1):
        if item["id"] in finished:
            skipped += 1
            continue
        if stop():
            raise Transient(f"stopped by request before item {item['id']}; {number - 1} of {len(items)} items are done")
        try:
            seconds = _do(store, run, link, links, item, on, progress.of_item(number - 1, item["id"]))
            log.info("%s %s done in %.2f s (%d/%d)", stage, item["id"], seconds, number, len(items))
        except Outcome as failure:
            log.error("%s %s failed: %s: %s", stage, item["id"], type(failure).__name__, failure)
            failures.append(failure)
    if failures:
        raise min(failures, key=_severity)
    return JobResult(len(items) - skipped, skipped)


def _asked(run: Run, stage: str) -> str:
    """The device that the run asks for. Only `process` works where a GPU lane has one; the others' functions never do."""
    asked = str(run.options.get("device", "auto"))
    return asked if stage == "process" or asked != "gpu" else "auto"


def _do(
    store: Store, run: Run, link: Link, links: list[Link], item: Item, on: device.Device, told: Callable[[float], None]
) -> float:
    workload = registry.load(run.workload)
    begun = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="tilery-") as scratch:
            work = make_work(store, run, link, links, Path(scratch), on.kind, told)
            value = _verb(workload, work)(work, _with_values(store, link, links, item))
    except Exception as error:
        failure = as_outcome(error, item)
        stages.mark_failed(store, link, str(item["id"]), failure)
        raise failure from error
    seconds = time.perf_counter() - begun
    stages.mark_done(store, link, str(item["id"]), value, seconds, on)
    return seconds


def as_outcome(error: Exception, item: Item) -> Outcome:
    """What went wrong, as the orchestration understands it. A fault of our own stays visible as such in the log."""
    if isinstance(error, Outcome):
        return error
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return OutOfMemory(f"{item['id']} does not fit in this worker's memory: {error}")
    if isinstance(error, Changed):
        return BadInput(f"an input changed while the run was going on: {error}; drop it again")
    if isinstance(error, NotFound) and str(error).startswith("drop/"):
        return BadInput(f"an input is gone from the drop folder: {error}; drop it again")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(
            f"the disk that holds {error.filename or tempfile.gettempdir()} is full; make room, then redrive the run"
        )
    if isinstance(error, NotFound):
        return Transient(f"a file of the run is not there: {error}")
    log.exception("%s: unexpected %s", item["id"], type(error).__name__)
    return Outcome(f"{item['id']}: {type(error).__name__}: {error}")


def _verb(workload: Workload[Any], work: Work[Any]) -> Callable[[Work[Any], Item], dict[str, Any]]:
    verb: Callable[[Work[Any], Item], dict[str, Any]] = getattr(workload, work.stage)
    return verb


def _with_values(store: Store, link: Link, links: list[Link], item: Item) -> Item:
    """A merge item with what its parts returned; other items as they are."""
    if link.name != "merge":
        return item
    before = link if item["round"] else links[links.index(link) - 1]
    return {**item, "values": stages.values(store, before, item["parts"])}
