"""`tilery get`: the products of a run, in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli import products
from cli.find_run import find_run
from cli.options import Root, RunName, Stack, Tenant
from cli.target import find
from cli.text import err, short
from tilery import keys
from tilery.outcomes import BadInput


def get(
    run: RunName,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where to put the products and run.json.")],
    tenant: Tenant = "local",
    root: Root = None,
    stack: Stack = "",
) -> None:
    """Fetch the products of a run. The last line on stdout is the path of run.json."""
    target = find(stack, root)
    line = find_run(target.store, tenant, run)
    folder = keys.result(tenant, line["workload"], line["dataset"], line["run_id"])
    ended = products.read(target.store, folder)
    if ended is None:
        raise BadInput(f"run {short(line['run_id'])} has no products yet: it is {line['status']}; try again when it has ended")
    path = products.deliver(target.store, folder, ended, out)
    if ended.record["status"] != "SUCCEEDED":
        err().print(f"This run is {ended.record['status']}; see {path}.", markup=False)
    print(path)
    raise typer.Exit(ended.exit_code)
