"""`tilery run`: one drop through a twin of its own, from the command line to the products in a folder."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from cli import products
from cli.inputs import InputFile, Request, check_installed, request
from cli.options import Settings, Tenant
from cli.progress import Display, Watch, follow
from cli.target import TwinTarget, open_directory
from cli.text import err, out
from tilery import keys
from tilery.outcomes import BadInput, Incomplete
from tilery.report import duration, size
from tilery.run import Estimate, Record, Timings
from tilery.store.port import Store

if TYPE_CHECKING:
    from twin.twin import Twin

TWIN_FOLDER = ".tilery"
LISTED = 12
"""Products of a kind that get a line each."""
_RECORD_WAIT_S = 20.0
"""How long the explanation of a failure may take to be written after the execution ended."""


class Asked(Protocol):
    """What is told of a run whoever asked for it: a request, or a manifest."""

    @property
    def workload(self) -> str: ...

    @property
    def tenant(self) -> str: ...

    @property
    def dataset(self) -> str: ...

    @property
    def options(self) -> dict[str, Any]: ...


def run(
    workload: Annotated[str, typer.Argument(metavar="WORKLOAD", help="What to do, for example pointcloud.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Files or folders; together they are one dataset.")],
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the products and run.json go.")],
    settings: Settings = None,
    tenant: Tenant = "local",
    name: Annotated[
        str, typer.Option("--name", help="The dataset's name (default: the file or folder).", show_default=False)
    ] = "",
) -> None:
    """Run one drop on this machine, with live progress. The last line on stdout is the path of run.json.

    Exit codes: 0 succeeded, 1 failed, 2 bad input, 3 partial. A command that is refused starts and writes nothing.
    """
    target = Path(os.path.abspath(folder.expanduser()))
    asked = request(workload, inputs, settings, tenant, name, products=target)
    check_installed(workload)
    if target.exists() and not target.is_dir():
        raise BadInput(f"{target} is a file; name a folder with --out")
    try:
        ended, path = asyncio.run(_run(asked, target))
    except KeyboardInterrupt:
        err().print("\nStopped. What is finished is kept: run the same command again to go on from there.", markup=False)
        raise typer.Exit(130) from None
    summary(ended, target)
    print(path)
    raise typer.Exit(ended.exit_code)


async def _run(asked: Request, folder: Path) -> tuple[products.Ended, Path]:
    from twin.twin import Twin

    root = folder / TWIN_FOLDER
    if TwinTarget(root).reachable():
        raise BadInput(f"another tilery works in {folder}; wait for it, or choose another folder with --out")
    root.mkdir(parents=True, exist_ok=True)
    store = open_directory(root)
    key, version = prepare(store, root, asked)
    run_id = keys.run_id("drop", key, version)
    products.clear(folder)
    results = keys.result(asked.tenant, asked.workload, asked.dataset, run_id)
    with Display(err()) as display:
        for note in _notes(asked):
            display.note(note)
        async with Twin(root, workloads=[asked.workload]) as twin:
            await _follow(twin, store, asked, key, run_id, display)
            ended = await recorded(store, results, asked, run_id)
    return ended, products.deliver(store, results, ended, folder, root)


async def _follow(twin: Twin, store: Store, asked: Request, key: str, run_id: str, display: Display) -> None:
    """Drop, and follow what comes of it."""
    from twin.twin import ENDED_BADLY, Ignored

    answer = await twin.drop(key)
    if isinstance(answer, Ignored):
        raise BadInput(f"the drop was ignored: {answer.why}")
    if not answer.new:
        display.note("going on with the unfinished run in this folder")
        if twin.engine.describe(answer.execution_arn).status in ENDED_BADLY:  # nobody wrote down why, or nobody saw it
            await twin.redrive(run_id)
    await watched(twin, store, asked, run_id, display)


async def watched(twin: Twin, store: Store, asked: Asked, run_id: str, display: Display) -> None:
    """Show progress until the run has ended and, if it failed, is explained."""
    watch = Watch(twin.stepfunctions, store, twin.execution_arn(run_id), asked.tenant, run_id)
    looking = asyncio.create_task(follow(watch, display))
    try:
        await twin.wait(run_id)
        await twin.explained()
    finally:
        looking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await looking
    display.show(await asyncio.to_thread(watch.look))


def prepare(store: Store, root: Path, asked: Request) -> tuple[str, str]:
    """Lay the inputs into the drop folder; returns the key and version of `_READY.json`.

    The same request as an unfinished one in this folder joins it: its `_READY.json` stays, so the run keeps its id and goes
    on. Any other request gets a new one, and thereby a new run, which still finds every finished stage.
    """
    note = root / "request.json"
    identity = asked.identity()
    earlier = _earlier(note)
    if earlier and not _over(store, earlier):
        if earlier["request"] == identity:
            return earlier["key"], earlier["version"]
        raise BadInput(
            f"{root.parent} holds an unfinished run of other inputs or options; repeat that command, "
            f"choose another folder with --out, or delete {root}"
        )
    note.unlink(missing_ok=True)
    _clear_drop(root, asked)
    for file in asked.files:
        _lay(file, root / asked.key(file))
    store.put(asked.ready_key, asked.ready())
    entry = store.head(asked.ready_key)
    if entry is None:
        raise Incomplete(f"{asked.ready_key} vanished from {root}; run the command again")
    facts = {"request": identity, "key": asked.ready_key, "version": entry.version}
    partial = note.with_suffix(".part")
    partial.write_text(json.dumps(facts))
    os.replace(partial, note)
    return asked.ready_key, entry.version


def _earlier(note: Path) -> dict[str, Any] | None:
    try:
        earlier: dict[str, Any] = json.loads(note.read_text())
    except FileNotFoundError:
        return None
    return earlier


def _over(store: Store, earlier: dict[str, Any]) -> bool:
    """Whether the run of an earlier request has published its record, or no longer has the upload that began it."""
    request, run_id = earlier["request"], keys.run_id("drop", earlier["key"], earlier["version"])
    folder = keys.result(request["tenant"], request["workload"], request["dataset"], run_id)
    entry = store.head(earlier["key"])
    return products.read(store, folder) is not None or entry is None or entry.version != earlier["version"]


def _clear_drop(root: Path, asked: Request) -> None:
    """Empty the dataset's folder: links of an earlier request do not belong to this one."""
    shutil.rmtree(root / asked.prefix, ignore_errors=True)


def _lay(file: InputFile, path: Path) -> None:
    """Link an input into the drop folder, or copy it where the file system cannot link."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    products.link_or_copy(file.path, path)


def _notes(asked: Request) -> list[str]:
    total = sum(file.size for file in asked.files)
    count = len(asked.files)
    notes = [f"{asked.workload}: {asked.dataset}, {count} {'file' if count == 1 else 'files'}, {size(total)}"]
    if asked.skipped:
        shown = ", ".join(asked.skipped[:5]) + (", ..." if len(asked.skipped) > 5 else "")
        notes.append(f"left out {len(asked.skipped)} that {asked.workload} does not read: {shown}")
    return notes


async def recorded(store: Store, results: str, asked: Asked, run_id: str) -> products.Ended:
    """The record of the run. A failed one is explained by a function of its own, shortly after the end; if that never comes
    the record is made here, so that the caller always finds one."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _RECORD_WAIT_S
    while loop.time() < until:
        ended = await asyncio.to_thread(products.read, store, results)
        if ended is not None and (ended.record["status"] != "FAILED" or ended.failure is not None):
            return ended
        await asyncio.sleep(0.05)
    return _unexplained(asked, run_id)


def _unexplained(asked: Asked, run_id: str) -> products.Ended:
    sentence = "The run ended without products, and nothing explained why."
    record = Record(
        run_id=run_id,
        workload=asked.workload,
        tenant=asked.tenant,
        dataset=asked.dataset,
        status="FAILED",
        products=[],
        options=asked.options,
        lane="",
        device="",
        estimate=Estimate(seconds=0, dollars=0),
        timings=Timings(total_s=0),
        warnings=[sentence],
        version="",
    )
    failure = {
        "run_id": run_id,
        "workload": asked.workload,
        "dataset": asked.dataset,
        "tenant": asked.tenant,
        "status": "FAILED",
        "error": "Unexplained",
        "sentence": sentence,
        "what_to_do": "Look at the logs with `tilery logs`, then run the command again.",
        "redrive": True,
    }
    return products.Ended(record.model_dump(), failure)


def listed(made: list[dict[str, Any]], folder: Path, lists: list[dict[str, Any]] | None = None) -> Iterator[str]:
    """A line for each product; for many of one kind (a thousand pictures), or those of `lists`, one for all of them."""
    for kind in dict.fromkeys(one["kind"] for one in lists or []):
        same = [one for one in lists or [] if one["kind"] == kind]
        count, total = (sum(int(one[fact]) for one in same) for fact in ("count", "bytes"))
        yield f"{kind:>13}  {count:,} files, named in {folder / Path(same[0]['path']).parent}  {size(total)}"
    kinds = list(dict.fromkeys(product["kind"] for product in made))
    for kind in kinds:
        same = [product for product in made if product["kind"] == kind]
        if len(same) > LISTED:
            below = folder / os.path.commonpath([Path(product["path"]).parent for product in same])
            total = sum(int(product["bytes"]) for product in same)
            yield f"{kind:>13}  {len(same):,} files below {below}  {size(total)}"
            continue
        yield from (f"{kind:>13}  {folder / product['path']}  {size(int(product['bytes']))}" for product in same)


def summary(ended: products.Ended, folder: Path) -> None:
    record = ended.record
    console = err() if record["status"] == "FAILED" else out()
    if ended.failure is not None:
        console.print(f"error: {ended.failure['sentence']}", markup=False, style="red")
        bad = ended.exit_code == 2
        todo = str(ended.failure["what_to_do"]) if bad else "Run the same command again: it repeats only what is missing."
        console.print(todo, markup=False)
        console.print(f"Logs: tilery logs latest --root {folder} --tenant {record['tenant']}", markup=False)
        return
    console.print(f"lane {record['lane']}: {record.get('lane_reason', '')}", markup=False)
    console.print(f"device {record['device']}: {record.get('device_reason', '')}", markup=False)
    console.print(
        f"took {duration(record['timings']['total_s'])} (estimate {duration(record['estimate']['seconds'])})", markup=False
    )
    for warning in record.get("warnings", []):
        console.print(f"warning: {warning}", markup=False, style="yellow")
    if record["status"] == "PARTIAL":
        console.print(
            f"PARTIAL: {len(record.get('missing', []))} parts are missing; run.json lists them", markup=False, style="yellow"
        )
    for line in listed(record["products"], folder, record.get("listed")):
        console.print(line, markup=False)
