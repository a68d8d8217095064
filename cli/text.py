"""How the commands write to a terminal: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from datetime import datetime
from typing import Any

from rich.console import Console

SHORT = 8
PIPE_WIDTH = 400
"""Columns of a table that is not read in a terminal."""
STATUS_STYLE = {
    "RUNNING": "cyan",
    "SUCCEEDED": "green",
    "PARTIAL": "yellow",
    "FAILED": "red",
    "TIMED_OUT": "red",
    "ABORTED": "magenta",
}


def out() -> Console:
    """The console of results (made anew, so that a redirected stdout is honoured). In a pipe nothing is folded."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else PIPE_WIDTH)


def err() -> Console:
    """The console of progress, notes and errors."""
    return Console(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """JSON for scripts: never wrapped or coloured."""
    print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def short(run_id: str) -> str:
    """The first digits of a run id, as people see it."""
    return run_id[:SHORT]


def styled(status: str) -> str:
    """A status with its colour, in rich markup."""
    style = STATUS_STYLE.get(status)
    return f"[{style}]{status}[/]" if style else status


def local_time(iso: str) -> str:
    """An ISO 8601 moment in the local time zone, to the second; empty stays empty."""
    if not iso:
        return ""
    return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def elapsed_s(start: str, stop: str) -> float | None:
    """Seconds between two ISO 8601 moments, None if one is missing."""
    if not start or not stop:
        return None
    return (datetime.fromisoformat(stop) - datetime.fromisoformat(start)).total_seconds()
