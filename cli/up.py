"""`tilery up`: the twin with a watched drop folder, until ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from cli.inputs import check_tenant
from cli.options import Root, Tenant
from cli.target import TwinTarget, open_directory, twin_root
from cli.text import err, out, short
from tilery import registry
from tilery.outcomes import BadInput

if TYPE_CHECKING:
    from twin.twin import TwinEvent

README = "README.md"


def up(
    root: Root = None,
    tenant: Tenant = "local",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of the Step Functions API; 0 takes a free one.")
    ] = 0,
    front_port: Annotated[
        int, typer.Option("--front-port", min=0, max=65535, help="Port of the HTTP front for pictures; 0 takes a free one.")
    ] = 0,
) -> None:
    """Start the twin with a watched drop folder. Put files in it; ctrl-C stops, and the next start goes on from there."""
    check_tenant(tenant)
    folder = twin_root(root)
    running = TwinTarget(folder).url()
    if running:
        raise BadInput(f"a twin runs in {folder} already, at {running}; use it, or choose another folder with --root")
    folders = make_drop_folders(folder, tenant)
    asyncio.run(_serve(folder, folders, port, tenant, front_port))


def make_drop_folders(root: Path, tenant: str) -> dict[str, Path]:
    """A drop folder per workload, each with a README that says what to put there; workload -> folder."""
    folders = {}
    for workload in registry.installed():
        folder = root / "drop" / tenant / workload
        folder.mkdir(parents=True, exist_ok=True)
        text = readme(workload, root, tenant)
        path = folder / README
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
        folders[workload] = folder
    return folders


def readme(workload: str, root: Path, tenant: str) -> str:
    """What to put into the drop folder of a workload, and what comes back where."""
    kind = registry.options(workload)
    options = "\n".join(
        f"| `{name}` | `{json.dumps(field.get_default(call_default_factory=True), default=str)}` | {field.description or ''} |"
        for name, field in sorted(kind.model_fields.items())
    )
    about = " ".join((registry.load(workload).__doc__ or "").strip().split("\n\n")[0].split())
    return f"""# Drop folder of `{workload}`

{about}

It reads {", ".join(f"`{suffix}`" for suffix in registry.suffixes(workload) if suffix) or "any file"}.

- **One file**: put it here. It starts at once.
- **Several files as one dataset**: make a folder here, put the files in it, and last an empty file `_READY.json` (or
  `{{"options": {{"KEY": VALUE}}}}`).

Products come to `{root}/results/{tenant}/{workload}/NAME/RUN/`; `latest.json` beside it names the newest run.
See `tilery runs --root {root}`.

| option | default | |
|---|---|---|
{options}
"""


async def _serve(root: Path, folders: dict[str, Path], port: int, tenant: str, front_port: int) -> None:
    from twin.twin import Twin

    console = err()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with Twin(root, watch=True, port=port, on_event=lambda event: console.print(say(event, root), markup=False)) as twin:
        with _front(root, tenant, front_port, folders) as pictures:
            table = Table(box=None, show_header=False, pad_edge=False)
            table.add_column(style="dim", no_wrap=True)
            table.add_column(overflow="fold")
            for workload, folder in folders.items():
                table.add_row(f"drop {workload}", str(folder))
            table.add_row("results", str(root / "results"))
            table.add_row("API", twin.url)
            if pictures:
                table.add_row("pictures", f"POST {pictures}/process")
            shown = out()
            shown.print(table)
            shown.print("Put files into a drop folder. Ctrl-C stops; the next start goes on from there.")
            await stopped.wait()
    console.print("Stopped. Runs that were going on continue with the next `tilery up`.")


@contextlib.contextmanager
def _front(root: Path, tenant: str, port: int, folders: dict[str, Path]) -> Iterator[str]:
    """The HTTP front for pictures, where that workload is installed; its address."""
    from cli.front import WORKLOAD, Front

    if WORKLOAD not in folders:
        yield ""
        return
    with Front(open_directory(root), tenant, port) as front:
        yield front.url


def say(event: TwinEvent, root: Path) -> str:
    """One line of what happened in the twin; empty for what nobody needs to read."""
    from twin.engine import StatusChange
    from twin.twin import Accepted, Ignored, Resumed, Trouble

    match event:
        case Accepted():
            return f"accepted: {event.key}  run {short(event.run_id)}"
        case Ignored():
            return f"ignored: {event.why}"
        case Resumed():
            return f"goes on: run {short(event.execution_arn.rpartition(':')[2])}"
        case Trouble():
            return f"trouble: {event.sentence}"
        case StatusChange():
            run = short(event.execution.name)
            status = event.status.lower().replace("_", " ")
            hint = "" if event.status == "RUNNING" else f"  (tilery show {run} --root {root})"
            return f"{status}: run {run}{hint}"
