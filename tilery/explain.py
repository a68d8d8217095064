"""Says in plain words why a run ended badly: reads the execution itself, since status events come late, twice or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tilery import keys, ledger, manifest, publishing, stages
from tilery.outcomes import BadInput
from tilery.store.port import NotFound, Store

OpenStore = Callable[[str], Store]
"""Opens the store of a tenant."""

ENDED_BADLY = ("FAILED", "TIMED_OUT", "ABORTED")
CAN_BE_REDRIVEN = "`tilery redrive` repeats only what is missing; `tilery logs` shows what the workers said"


def explain(open_store: OpenStore, sfn: Any, arn: str) -> dict[str, Any] | None:
    """Write failure.json, run.json, ledger and notice of an execution that ended badly; None if it did not, or if it is no
    run of a tenant. Idempotent. The execution itself says whose store to open: events leave out a long input."""
    execution = sfn.describe_execution(executionArn=arn)
    status, tenant, run_id = str(execution["status"]), tenant_of(execution), str(execution["name"])
    if status not in ENDED_BADLY or not tenant:
        return None
    store = open_store(tenant)
    try:
        given = manifest.read_brief(store, tenant, run_id)
    except BadInput:
        return None  # somebody started the machine by hand, or the run's files have expired
    error, sentence = read_cause(str(execution.get("error", "")), str(execution.get("cause", "")))
    if status == "FAILED" and error not in ("BadInput", "Incomplete"):
        error, sentence = _from_workers(store, tenant, run_id) or (error, sentence)
    bad = error == "BadInput"
    failure = {
        "run_id": run_id,
        "tenant": tenant,
        "workload": given.workload,
        "dataset": given.dataset,
        "status": status,
        "error": error or status,
        "sentence": sentence or _plain(status),
        "what_to_do": "mend the input and drop it again" if bad else CAN_BE_REDRIVEN,
        "redrive": not bad,
        "redrives": int(execution.get("redriveCount", 0)),
        "execution": arn,
        "at": ledger.now(),
    }
    publishing.write_failure(store, tenant, run_id, failure)
    return failure


def tenant_of(execution: dict[str, Any]) -> str:
    """The tenant in the input of a described execution; empty for one that somebody started by hand without."""
    given = json.loads(execution.get("input") or "{}")
    tenant = given.get("tenant", "") if isinstance(given, dict) else ""
    return tenant if isinstance(tenant, str) and keys.TENANT.fullmatch(tenant) else ""


def read_cause(error: str, cause: str) -> tuple[str, str]:
    """The error class and the sentence of an execution's Error and Cause.

    A Lambda's cause is JSON with errorType and errorMessage; Step Functions' own causes are text.
    """
    try:
        body = json.loads(cause)
    except json.JSONDecodeError:
        return error, cause
    if not isinstance(body, dict) or "errorMessage" not in body:
        return error, cause
    return str(body.get("errorType", error)), str(body["errorMessage"])


def _from_workers(store: Store, tenant: str, run_id: str) -> tuple[str, str] | None:
    """What failed items left behind, when the state machine itself knows only that a map gave up."""
    try:
        run = stages.read_brief(store, tenant, run_id)
    except NotFound:
        return None
    for link in stages.chain(store, run):
        open_items = stages.markers(store, link, "failed") - stages.markers(store, link, "done")
        failures = stages.failed(store, link, sorted(open_items))
        if failures:
            worst = next((one for one in failures if one["error"] == BadInput.__name__), failures[0])
            return str(worst["error"]), f"{len(open_items)} {link.name} items failed: {worst['item']}: {worst['sentence']}"
    return None


def _plain(status: str) -> str:
    return {
        "ABORTED": "the run was stopped by a person",
        "TIMED_OUT": "the run took longer than its time limit",
    }.get(status, "the run failed without a reason; see its execution in the Step Functions console")


def redriven(store: Store, tenant: str, run_id: str, count: int) -> None:
    """Note in the ledger that a run goes on after a failure."""
    given = manifest.read_brief(store, tenant, run_id)
    ledger.write(store, given, f"redriven-{count}", work=keys.run(tenant, run_id))
