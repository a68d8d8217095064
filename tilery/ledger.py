"""The run book: append-only objects `ledger/TENANT/DATE/RUN/EVENT.json`, written once each by conditional create.

With Step Functions' own executions it is all the state there is about runs; there are no counters to leak.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from tilery import keys
from tilery.run import Manifest
from tilery.store.port import Store

ENDED = ("succeeded", "partial", "failed")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def write(store: Store, manifest: Manifest, event: str, **facts: Any) -> bool:
    """Record an event of a run once; False if it was there already."""
    body = {
        "event": event,
        "at": now(),
        "run_id": manifest.run_id,
        "tenant": manifest.tenant,
        "workload": manifest.workload,
        "dataset": manifest.dataset,
        **facts,
    }
    key = keys.ledger(manifest.tenant, manifest.received[:10], manifest.run_id, event)
    return store.create(key, json.dumps(body, sort_keys=True).encode())


def events(store: Store, tenant: str, date: str, run_id: str) -> list[dict[str, Any]]:
    """The events of one run in the order they happened."""
    found = [json.loads(store.get(entry.key)) for entry in store.list(f"ledger/{tenant}/{date}/{run_id}/")]
    return sorted(found, key=lambda event: str(event["at"]))


def runs(store: Store, tenant: str) -> list[dict[str, Any]]:
    """One line a run, newest first: run_id, workload, dataset, status, received, ended."""
    by_run: dict[tuple[str, str], list[str]] = {}
    for entry in store.list(f"ledger/{tenant}/"):
        _, _, date, run_id, _ = entry.key.split("/")
        by_run.setdefault((date, run_id), []).append(entry.key)
    return sorted(
        (_summary(events(store, tenant, date, run_id)) for date, run_id in by_run),
        key=lambda run: str(run["received"]),
        reverse=True,
    )


def _summary(history: list[dict[str, Any]]) -> dict[str, Any]:
    first, last = history[0], history[-1]
    ended = [event for event in history if event["event"].split("-")[0] in ENDED]
    redriven = bool(ended) and any(event["event"].startswith("redriven") and event["at"] > ended[-1]["at"] for event in history)
    status = "RUNNING" if not ended or redriven else ended[-1]["event"].split("-")[0].upper()
    return {
        "run_id": first["run_id"],
        "tenant": first["tenant"],
        "workload": first["workload"],
        "dataset": first["dataset"],
        "status": status,
        "received": first["at"],
        "ended": "" if status == "RUNNING" else ended[-1]["at"],
        "last": last["event"],
    }
