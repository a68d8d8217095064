"""The run book: append-only objects `ledger/TENANT/DATE/RUN/EVENT.json`, written once each by conditional create.

With Step Functions' own executions it is all the state there is about runs; there are no counters to leak.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from tilery import keys
from tilery.run import Manifest
from tilery.store.port import Store

PUBLISHED = ("succeeded", "partial")
RECENT_DAYS = 7
READERS = 16
"""Runs that are read at once: each is a few small objects."""


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
    """The events of one run in the order they happened; within a millisecond by attempt, a redrive before its outcome."""
    found = [json.loads(store.get(entry.key)) for entry in store.list(f"ledger/{tenant}/{date}/{run_id}/")]
    return sorted(found, key=lambda event: (str(event["at"]), _attempt(event), not _redrive(event)))


def runs(store: Store, tenant: str) -> Iterator[dict[str, Any]]:
    """One line a run, newest first: run_id, workload, dataset, status, received, ended.

    A day's events are read when the runs of later days have been taken, and the whole book is listed only for what is older
    than a week: the last twenty of many cost what the last day's do.
    """
    now = datetime.now(UTC)
    recent = [f"{now - timedelta(days):%Y-%m-%d}" for days in range(RECENT_DAYS)]
    with ThreadPoolExecutor(READERS) as pool:
        for date in recent:
            yield from _of_day(store, tenant, date, _run_ids(store, f"ledger/{tenant}/{date}/").get(date, set()), pool)
        older = _run_ids(store, f"ledger/{tenant}/")
        for date in sorted(older.keys() - set(recent), reverse=True):
            yield from _of_day(store, tenant, date, older[date], pool)


def _run_ids(store: Store, prefix: str) -> dict[str, set[str]]:
    """Day -> the runs received then, of all that is listed below a prefix."""
    by_day: dict[str, set[str]] = {}
    for entry in store.list(prefix):
        _, _, date, run_id, _ = entry.key.split("/")
        by_day.setdefault(date, set()).add(run_id)
    return by_day


def _of_day(store: Store, tenant: str, date: str, run_ids: set[str], pool: ThreadPoolExecutor) -> list[dict[str, Any]]:
    lines = pool.map(lambda run_id: _summary(events(store, tenant, date, run_id)), sorted(run_ids))
    return sorted(lines, key=lambda run: str(run["received"]), reverse=True)


def _attempt(event: dict[str, Any]) -> int:
    """How many redrives came before an event that counts them (`failed-N`, `redriven-N`); 0 for the others."""
    number = event["event"].rpartition("-")[2]
    return int(number) if number.isdigit() else 0


def _redrive(event: dict[str, Any]) -> bool:
    return str(event["event"]).startswith("redriven-")


def _summary(history: list[dict[str, Any]]) -> dict[str, Any]:
    first, last = history[0], history[-1]
    # By attempt, never by the clock: events are written by several machines, and within one millisecond.
    failed = max((event for event in history if event["event"].startswith("failed-")), key=_attempt, default=None)
    ended = next((event for event in history if event["event"] in PUBLISHED), failed)
    if ended is failed and failed and any(_redrive(event) and _attempt(event) > _attempt(failed) for event in history):
        ended = None
    return {
        "run_id": first["run_id"],
        "tenant": first["tenant"],
        "workload": first["workload"],
        "dataset": first["dataset"],
        "status": ended["event"].split("-")[0].upper() if ended else "RUNNING",
        "received": first["at"],
        "ended": ended["at"] if ended else "",
        "last": last["event"],
    }
