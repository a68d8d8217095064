"""From what a person types to one run: a full id, its first digits, WORKLOAD/DATASET, or `latest`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from cli.text import short
from tilery import ledger
from tilery.outcomes import BadInput
from tilery.store.port import Store

_DIGITS = re.compile(r"[0-9a-f]{4,64}")


def find_run(store: Store, tenant: str, text: str) -> dict[str, Any]:
    """The ledger's line of the run (see `ledger.runs`). `BadInput` says what there is instead."""
    return choose(ledger.runs(store, tenant), text, tenant)


def choose(runs: Iterable[dict[str, Any]], text: str, tenant: str) -> dict[str, Any]:
    """The run among these (newest first) that `text` means; no more of them are taken than it needs."""
    seen = []
    for run in runs:
        if text in ("latest", f"{run['workload']}/{run['dataset']}", run["dataset"], run["run_id"]):
            return run
        seen.append(run)
    if not seen:
        raise BadInput(f"tenant {tenant!r} has no runs here; drop something first, or check --tenant, --root and --stack")
    if _DIGITS.fullmatch(text):
        matches = [run for run in seen if run["run_id"].startswith(text)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            several = ", ".join(run["run_id"][: len(text) + 4] for run in matches[:5])
            raise BadInput(f"{len(matches)} runs start with {text}: {several}; give more digits")
    recent = ", ".join(f"{short(run['run_id'])} ({run['workload']}/{run['dataset']})" for run in seen[:3])
    raise BadInput(f"there is no run {text!r} of tenant {tenant!r}; the newest are {recent}")
