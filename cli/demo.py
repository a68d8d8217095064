"""`make demo`: start the twin, drop a real LiDAR file into its drop folder, watch it come back classified."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cli.products import read
from cli.progress import Display, Watch, follow
from cli.sample import sample
from cli.target import open_directory
from cli.text import err, out
from cli.up import make_drop_folders
from tilery import keys
from tilery.outcomes import Outcome, Transient
from tilery.report import duration, size
from twin.twin import Accepted, Ignored, Twin, TwinEvent

ROOT = Path("build/demo")
TENANT = "demo"
ACCEPT_S = 60.0


@dataclass(frozen=True, slots=True)
class Show:
    """What is shown: a workload, a word on the file, and what is said of its record in the end."""

    workload: str
    about: str
    told: Callable[[Any], list[str]]


async def demo(root: Path, file: Path, show: Show) -> int:
    """Drop the file as a person would, with a copy into the watched folder; returns the exit code."""
    console, answers = out(), asyncio.Queue[TwinEvent]()
    store = open_directory(root)
    async with Twin(root, workloads=[show.workload], watch=True, on_event=answers.put_nowait) as twin:
        folder = make_drop_folders(root, TENANT)[show.workload]
        console.print(f"The twin is up: {twin.url} speaks the Step Functions API. Its drop folder: {folder}", markup=False)
        console.print(f"Dropping {file.name} ({size(file.stat().st_size)}{show.about})", markup=False)
        partial = folder / f".{file.name}.part"
        shutil.copyfile(file, partial)
        partial.replace(folder / file.name)
        accepted = await asyncio.wait_for(_accepted(answers, file.name), ACCEPT_S)
        console.print(f"accepted: run {accepted.run_id[:8]}", markup=False)
        watch = Watch(twin.stepfunctions, store, accepted.execution_arn, TENANT, accepted.run_id)
        with Display(err()) as display:
            looking = asyncio.create_task(follow(watch, display))
            await twin.wait(accepted.run_id)
            looking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await looking
            display.show(await asyncio.to_thread(watch.look))
    results = keys.result(TENANT, show.workload, file.name, accepted.run_id)
    ended = read(store, results)
    if ended is None or ended.record["status"] != "SUCCEEDED":
        console.print(f"The demo run did not succeed: {ended.failure if ended else 'no record'}", markup=False)
        return 1
    record = ended.record
    console.print(
        f"Done in {duration(record['timings']['total_s'])}, lane {record['lane']}: {record['lane_reason']}", markup=False
    )
    for line in show.told(record):
        console.print(f"  {line}", markup=False)
    for line in _made(record["products"], root / results):
        console.print(line, markup=False)
    console.print("Files of your own: source .venv/bin/activate, then", markup=False)
    console.print(f"    tilery run {show.workload} FILE --out DIR    or, with a drop folder: tilery up", markup=False)
    return 0


def _made(made: list[dict[str, Any]], folder: Path) -> Iterator[str]:
    """Where the products are, each with its size, and what to look at first."""
    yield f"Products in {folder}:"
    yield from (f"{product['kind']:>12}  {product['path']}  {size(product['bytes'])}" for product in made)
    yield from (f"Look at it in a browser: {folder / one['path']}" for one in made if one["kind"] == "report")


async def _accepted(answers: asyncio.Queue[TwinEvent], name: str) -> Accepted:
    while True:
        event = await answers.get()
        if isinstance(event, Accepted) and event.key.endswith(f"/{name}"):
            return event
        if isinstance(event, Ignored) and event.key.endswith(f"/{name}"):
            raise Transient(f"the drop was ignored: {event.why}")


def run(find: Callable[[], Path], show: Show, root: Path) -> int:
    """The demo of a file, in a folder that is made anew."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    try:
        return asyncio.run(demo(root.resolve(), find(), show))
    except Outcome as failure:
        print(f"error: {failure}", file=sys.stderr)
        return failure.exit_code


def _classes(record: Any) -> list[str]:
    from tilery.workloads.pointcloud.page import CLASSES

    found = record["counts"]["classes"].items()
    return [f"{count:>8,} points of class {label}, {CLASSES[int(label)][0]}" for label, count in found]


def main() -> int:
    return run(lambda: sample(Path(".cache")), Show("pointcloud", ", 110,000 points of Eugene, Oregon", _classes), ROOT)


if __name__ == "__main__":
    sys.exit(main())
