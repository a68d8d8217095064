"""The options that several commands share, declared once so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_ROOT = "~/.tilery"

Tenant = Annotated[
    str, typer.Option("--tenant", envvar="TILERY_TENANT", help="Whose data: 1 to 32 letters a-z or digits.", show_default=True)
]
Stack = Annotated[
    str,
    typer.Option("--stack", envvar="TILERY_STACK", help="Talk to AWS: the name of the deployed App stack.", show_default=False),
]
Root = Annotated[
    Path | None,
    typer.Option(
        "--root", envvar="TILERY_ROOT", help=f"Talk to the twin in this folder (default {DEFAULT_ROOT}).", show_default=False
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="An option of the workload; JSON or plain text. Repeatable.", show_default=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
RunName = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="A run id, its first 4 or more digits, WORKLOAD/DATASET for its newest run, or `latest`.",
        show_default=False,
    ),
]
