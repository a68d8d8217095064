"""The last step: products, report, run.json written last, then latest.json, ledger and notice."""

from __future__ import annotations

import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from tilery import keys, ledger, manifest, notices, registry, stages, worker
from tilery.outcomes import Incomplete
from tilery.run import Estimate, Record, Run, Status, Timings
from tilery.stages import Link
from tilery.store.port import NotFound, Store
from tilery.workload import Done, Publication


def publish(store: Store, tenant: str, run_id: str) -> Record:
    """Publish a run whose last stage is complete. Idempotent: the same run writes the same keys."""
    run = stages.read_run(store, tenant, run_id)
    workload = registry.load(run.workload)
    links = stages.chain(store, run)
    folder = keys.result(tenant, run.workload, run.dataset, run_id)
    _refuse_gaps(store, stages.last_made(links))
    _refuse_gaps(store, links[-1])
    done = {str(link.name): _done(store, link) for link in links}
    missing = {str(link.name): list(link.missing) for link in links if link.missing}
    on = stages.devices(store, links)
    record = Record(
        run_id=run_id,
        workload=run.workload,
        tenant=tenant,
        dataset=run.dataset,
        status="PARTIAL" if missing else "SUCCEEDED",
        products=[],
        counts=run.counts,
        options=run.options,
        lane=run.lane,
        lane_reason=_lane_reason(store, run),
        device=", ".join(sorted({kind for kind, _ in on})) or "none",
        device_reason="; ".join(sorted({reason for _, reason in on})),
        estimate=run.estimate,
        timings=_timings(store, run),
        warnings=_warnings(run, missing),
        missing=[f"{stage}/{item}" for stage, items in missing.items() for item in items],
        version=run.version,
    )
    with tempfile.TemporaryDirectory(prefix="tilery-") as scratch:
        work = worker.make_work(store, run, links[-1], links, Path(scratch), "cpu")
        publication = Publication(work=work, folder=folder, done=done, missing=missing, record=record.model_dump(mode="json"))
        published = workload.publish(publication)
    update = {
        "products": published.products,
        "listed": published.listed,
        "counts": {**record.counts, **published.counts},
        "warnings": [*record.warnings, *published.warnings],
        "timings": _timings(store, run),
    }
    record = record.model_copy(update=update)
    _write_record(store, run, folder, record)
    return record


def _write_record(store: Store, run: Run, folder: str, record: Record) -> None:
    store.put(f"{folder}/run.json", record.model_dump_json(indent=2).encode())
    _settle_failure(store, folder, record.status)
    _point_latest(store, run, folder, record)
    given = manifest.read_brief(store, run.tenant, run.run_id)
    event = record.status.lower()
    count = len(record.products) + sum(listing.count for listing in record.listed)
    ledger.write(store, given, event, run=f"{folder}/run.json", seconds=record.timings.total_s, products=count)
    subject = f"Tilery: {run.workload}/{run.dataset} {event}, {count} products"
    notices.send(store, given, event, subject, {"run_id": run.run_id, "run": f"{folder}/run.json"})


def _settle_failure(store: Store, folder: str, status: Status) -> None:
    """Say in the failure.json of an earlier attempt that the run has come to its end since. Results are never deleted."""
    key = f"{folder}/failure.json"
    if store.head(key):
        settled = {"settled": f"a later attempt ended {status}: see run.json", **json.loads(store.get(key))}
        store.put(key, json.dumps(settled, indent=2).encode())


def _point_latest(store: Store, run: Run, folder: str, record: Record) -> None:
    """Point the dataset's latest.json here, unless a run of a later drop has been published already."""
    key = keys.result(run.tenant, run.workload, run.dataset, "latest.json")
    try:
        newest = str(json.loads(store.get(key)).get("received", ""))
    except NotFound:
        newest = ""
    if run.received < newest:
        return
    facts = {"received": run.received, "at": ledger.now()}
    latest = {"run_id": run.run_id, "status": record.status, "run": f"{folder}/run.json", **facts}
    store.put(key, json.dumps(latest, indent=2).encode())


def write_failure(store: Store, tenant: str, run_id: str, failure: dict[str, Any]) -> Status:
    """failure.json and a run.json that says FAILED, for a run that ended badly; the ledger and a notice."""
    given = manifest.read_brief(store, tenant, run_id)
    folder = keys.result(tenant, given.workload, given.dataset, run_id)
    try:
        run: Run | None = stages.read_brief(store, tenant, run_id)
    except NotFound:
        run = None
    record = Record(
        run_id=run_id,
        workload=given.workload,
        tenant=tenant,
        dataset=given.dataset,
        status="FAILED",
        products=[],
        counts=run.counts if run else {},
        options=run.options if run else given.options,
        lane=run.lane if run else "none",
        lane_reason=run.lane_reason if run else "the run failed before it was sized",
        device="none",
        estimate=run.estimate if run else Estimate(seconds=0, dollars=0),
        timings=Timings(total_s=_since(given.received)),
        warnings=[*(run.warnings if run else []), failure["sentence"]],
        version=run.version if run else "",
    )
    if _published(store, folder):
        return "FAILED"
    store.put(f"{folder}/failure.json", json.dumps(failure, indent=2).encode())
    store.put(f"{folder}/run.json", record.model_dump_json(indent=2).encode())
    event = f"failed-{failure['redrives']}"
    ledger.write(store, given, event, **{key: failure[key] for key in ("status", "error", "sentence", "redrive")})
    subject = f"Tilery: {given.workload}/{given.dataset} {failure['status'].lower()}: {failure['sentence']}"
    notices.send(store, given, event, subject, {"run_id": run_id, "failure": f"{folder}/failure.json"})
    return record.status


def _refuse_gaps(store: Store, last: Link) -> None:
    """`Incomplete` if files of the last stage are gone, as they are some days after they were made: never publish less."""
    if not stages.has_items(store, last):
        raise Incomplete(f"the files of the {last.name} stage have expired from the work area; drop the input again")
    items = {str(item["id"]) for item in stages.read_items(store, last, stages.last_round(store, last))}
    gaps = items - stages.markers(store, last, "done") - set(last.missing)
    if gaps:
        raise Incomplete(f"{len(gaps)} of {len(items)} {last.name} items are gone from the work area; drop the input again")


def _published(store: Store, folder: str) -> bool:
    """Whether the products are there already: then what failed afterwards does not take them back."""
    try:
        return json.loads(store.get(f"{folder}/run.json"))["status"] in ("SUCCEEDED", "PARTIAL")
    except NotFound:
        return False


def _done(store: Store, link: Link) -> list[Done]:
    """Finished items of the last round; none where the lambda lane had no need of this stage."""
    round_ = stages.last_round(store, link)
    return stages.done_items(store, link, round_) if stages.has_items(store, link, round_) else []


def _timings(store: Store, run: Run) -> Timings:
    return Timings(total_s=_since(run.received), stages=stages.timings(store, run))


def _lane_reason(store: Store, run: Run) -> str:
    """Why the lane, and whether it held: a drop that was too much for one worker goes on in stages."""
    gave_up = run.lane == "lambda" and stages.timings(store, run) and not stages.was_whole(store, run)
    return f"{run.lane_reason}; it did not, so the stages were done by Batch jobs and functions" if gave_up else run.lane_reason


def _since(moment: str) -> float:
    return round((datetime.fromisoformat(ledger.now()) - datetime.fromisoformat(moment)).total_seconds(), 3)


def _warnings(run: Run, missing: dict[str, list[str]]) -> list[str]:
    holes = [
        f"PARTIAL: {len(items)} {stage} items are missing; the products have holes there" for stage, items in missing.items()
    ]
    return [*run.warnings, *holes]
