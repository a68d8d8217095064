"""`tilery drop`: put files where a run starts, in the twin's folder or on S3."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from cli.inputs import Request, request
from cli.options import Root, Settings, Stack, Tenant
from cli.target import StackTarget, Target, TwinTarget, find
from cli.text import err, short
from cli.upload import Sent, Upload, copy, same_file
from tilery import keys
from tilery.outcomes import BadInput, Incomplete

LONGEST_KEY = 1024
"""Bytes that S3 lets a key have."""


def drop(
    workload: Annotated[str, typer.Argument(metavar="WORKLOAD", help="What to do, for example pointcloud.")],
    inputs: Annotated[list[Path], typer.Argument(metavar="INPUT...", help="Files or folders; together they are one dataset.")],
    settings: Settings = None,
    tenant: Tenant = "local",
    name: Annotated[
        str, typer.Option("--name", help="The dataset's name (default: the file or folder).", show_default=False)
    ] = "",
    root: Root = None,
    stack: Stack = "",
) -> None:
    """Upload files as one drop, which starts a run. An upload that broke goes on where it stopped when you run it again.

    The last line on stdout is the run id.
    """
    target = find(stack, root)
    asked = request(workload, inputs, settings, tenant, name)
    target.machine_arn(asked.workload)  # a stack may not run it; better said before the upload
    with _bar(sum(file.size for file in asked.files)) as bar:
        task = bar.add_task(asked.dataset, total=sum(file.size for file in asked.files))
        run_id = _send(target, asked, lambda count: bar.advance(task, count))
    err().print(f"Dropped {asked.workload}/{asked.dataset} in {target.place}.", markup=False)
    if not target.reachable():
        err().print(f"No twin runs there now; the run starts when you start one: tilery up {target.flags()}", markup=False)
    else:
        err().print(f"Follow it: tilery show {short(run_id)} {target.flags()}", markup=False)
    print(run_id)


def _send(target: Target, asked: Request, sent: Sent) -> str:
    """Upload every file, then what starts the run; returns the run id.

    One file without options is a drop by itself. Anything else is a dataset, which `_READY.json` completes; its files that
    are already there, from a try that broke, are not sent again.
    """
    alone = len(asked.files) == 1 and not asked.options and asked.dataset == asked.files[0].name
    if alone:
        key = keys.join("drop", asked.tenant, asked.workload, asked.dataset)
        _upload(target, asked.files[0].path, key, sent, again=True)
        return _run_id(target, key)
    if isinstance(target, StackTarget):
        _refuse_long(asked)
    for file in asked.files:
        _upload(target, file.path, asked.key(file), sent, again=False)
    if isinstance(target, StackTarget):
        return _put_ready(target, asked)
    target.store.put(asked.ready_key, asked.ready())
    return _run_id(target, asked.ready_key)


def _refuse_long(asked: Request) -> None:
    """Before anything is sent: S3 has no object of so long a key, where a folder may have the file."""
    for file in asked.files:
        if len(asked.key(file).encode()) > LONGEST_KEY:
            raise BadInput(f"{file.name[:60]!r}...: its key is longer than {LONGEST_KEY:,} bytes; shorten the name")


def _upload(target: Target, path: Path, key: str, sent: Sent, *, again: bool) -> None:
    """One file to one key. `again`: even if it is already there, since the upload itself starts the run."""
    if isinstance(target, StackTarget):
        upload = Upload(target.session.client("s3"), path, target.output("DropBucket"), key, sent)
        if not again and upload.already_there():
            sent(path.stat().st_size)
        else:
            upload.run()
        return
    if not isinstance(target, TwinTarget):
        raise TypeError(f"no way to upload to {target.place}")
    place = target.root / key
    if not again and same_file(path, place):
        sent(path.stat().st_size)
    else:
        copy(path, place, target.root / "twin" / "incoming", sent)


def _put_ready(target: StackTarget, asked: Request) -> str:
    bucket = target.output("DropBucket")
    answer = target.session.client("s3").put_object(Bucket=bucket, Key=asked.ready_key, Body=asked.ready())
    return keys.run_id(bucket, asked.ready_key, answer.get("VersionId", ""))


def _run_id(target: Target, key: str) -> str:
    entry = target.store.head(key)
    if entry is None:
        raise Incomplete(f"{os.path.basename(key)} vanished from {target.place}; drop it again")
    bucket = target.output("DropBucket") if isinstance(target, StackTarget) else "drop"
    return keys.run_id(bucket, key, entry.version)


def _bar(total: int) -> Progress:
    """A bar for uploads; nothing in a log or for a little."""
    console = err()
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=34),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        disable=not console.is_terminal or total < 1_000_000,
    )
