"""`tilery redo`: a new run on the inputs of an old one with other options. Where no twin runs, one of its own does it."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli import products
from cli.find_run import find_run
from cli.inputs import check_installed
from cli.options import Root, RunName, Settings, Stack, Tenant
from cli.progress import Display
from cli.run import TWIN_FOLDER, recorded, summary, watched
from cli.target import Target, TwinTarget, find
from cli.text import err, short
from tilery import keys
from tilery.options import from_text
from tilery.outcomes import BadInput
from tilery.workload import StageName

if TYPE_CHECKING:
    from tilery.run import Manifest
    from twin.twin import Twin


def redo(
    run: RunName,
    from_stage: Annotated[
        str, typer.Option("--from", metavar="STAGE", help="Also do this stage again, and those after it.", show_default=False)
    ] = "",
    settings: Settings = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Where the products go when no twin runs (default: the folder of the `tilery run` that --root names).",
            show_default=False,
        ),
    ] = None,
    tenant: Tenant = "local",
    root: Root = None,
    stack: Stack = "",
) -> None:
    """Start a new run on the same inputs with changed options; only stages that the change touches are computed.

    A twin that runs, or AWS, is asked for it; the command prints the new run's id and returns. Where no twin runs, as in the
    folder of `tilery run`, the command does the run itself, as `tilery run` does.
    """
    from tilery import manifest, registry

    target = find(stack, root)
    line = find_run(target.store, tenant, run)
    options = from_text(settings or [])
    stages: list[StageName] = list(registry.load(line["workload"]).stages)
    if from_stage and from_stage not in stages:
        raise BadInput(f"{line['workload']} has no stage {from_stage!r}; choose one of: {', '.join(stages)}")
    if not options and not from_stage and line["status"] not in ("FAILED", "PARTIAL"):
        raise BadInput("nothing would change; give --set KEY=VALUE or --from STAGE")
    here = isinstance(target, TwinTarget) and not target.reachable()
    if here:
        check_installed(line["workload"])
    elif folder is not None:
        raise BadInput(f"--out is for a redo where no twin runs; bring what {target.place} makes with `tilery get`")
    again = manifest.redo(target.store, tenant, line["run_id"], options, from_stage)
    if isinstance(target, TwinTarget) and here:
        raise typer.Exit(_here(target, again, folder))
    _asked(target, line, again)


def _asked(target: Target, line: dict[str, Any], again: Manifest) -> None:
    """The place that runs is told to start the new run."""
    from tilery import manifest

    client = target.stepfunctions
    try:
        client.start_execution(
            stateMachineArn=target.machine_arn(again.workload),
            name=again.run_id,
            input=json.dumps(manifest.execution_input(again)),
        )
    except client.exceptions.ExecutionAlreadyExists:
        err().print(f"This was asked before: run {short(again.run_id)}.", markup=False)
    title = f"{line['workload']}/{line['dataset']} ({short(line['run_id'])})"
    err().print(f"Redo of {title}. Follow it: tilery show {short(again.run_id)} {target.flags()}", markup=False)
    print(again.run_id)


def _here(target: TwinTarget, again: Manifest, folder: Path | None) -> int:
    """The new run in a twin of its own; the exit code. A redo that fails takes away nothing of what is in the folder."""
    out = folder or (target.root.parent if target.root.name == TWIN_FOLDER else None)
    results = keys.result(again.tenant, again.workload, again.dataset, again.run_id)
    try:
        ended = asyncio.run(_run(target, again, results))
    except KeyboardInterrupt:
        err().print("\nStopped. What is finished is kept: run the same command again to go on from there.", markup=False)
        return 130
    place, path = target.root / results, target.root / results / products.RECORD
    if ended.record["status"] == "FAILED":
        place = out or target.root
    elif out is not None:
        place = Path(os.path.abspath(out.expanduser()))
        path = products.deliver(target.store, results, ended, place, target.root)
    summary(ended, place)
    print(path)
    return ended.exit_code


async def _run(target: TwinTarget, again: Manifest, results: str) -> products.Ended:
    from twin.twin import Twin

    with Display(err()) as display:
        display.note(f"{again.workload}: {again.dataset} again, as run {short(again.run_id)}")
        async with Twin(target.root, workloads=[again.workload]) as twin:
            await _start(twin, again)
            await watched(twin, target.store, again, again.run_id, display)
            return await recorded(target.store, results, again, again.run_id)


async def _start(twin: Twin, again: Manifest) -> None:
    """Begin the run, or go on with it if the same was asked before."""
    from tilery import manifest, names
    from twin.deployment import machine_arn
    from twin.faults import ExecutionAlreadyExists
    from twin.twin import ENDED_BADLY

    try:
        arn = machine_arn(names.machine_name(again.workload))
        await twin.engine.start(arn, again.run_id, manifest.execution_input(again))
    except ExecutionAlreadyExists:
        if twin.engine.describe(twin.execution_arn(again.run_id)).status in ENDED_BADLY:
            await twin.redrive(again.run_id)
