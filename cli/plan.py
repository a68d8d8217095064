"""`tilery plan`: what so many bytes would take on AWS, without data, from measured rates and a dated price table."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from typing import Annotated

import typer

from cli.options import Json
from cli.text import out
from tilery import registry
from tilery.outcomes import BadInput


def plan(
    workload: Annotated[str, typer.Argument(metavar="WORKLOAD", help="Which workload, for example trend.")],
    amount: Annotated[str, typer.Option("--bytes", metavar="AMOUNT", help="How much input: 2TB, 500GiB.")],
    deadlines: Annotated[list[float] | None, typer.Option("--in", metavar="SECONDS", help="Wanted time; repeatable.")] = None,
    as_json: Json = False,
) -> None:
    """Say how many vCPUs, how long and how many dollars an amount of input would take."""
    planned = sorted(name for name in registry.names() if importlib.util.find_spec(f"tilery.workloads.{name}.plan"))
    if workload not in planned:
        raise BadInput(f"there is no plan for {workload!r}; there is one for: {', '.join(planned) or 'no workload'}")
    module = importlib.import_module(f"tilery.workloads.{workload}.plan")
    made = module.plan(module.read_bytes(amount), deadlines or module.DEADLINES_S)
    if as_json:
        print(json.dumps(dataclasses.asdict(made)))
    else:
        out().print(made.text(), markup=False, highlight=False)
