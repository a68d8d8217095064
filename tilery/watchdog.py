"""Looks every few minutes at what events may have missed: runs that ended unsaid, jobs that never start, broken uploads."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tilery import explain, ledger, manifest, registry
from tilery.explain import OpenStore
from tilery.outcomes import BadInput

log = logging.getLogger("tilery.watchdog")

STUCK = timedelta(minutes=30)
"""A GPU instance usually starts within 10 minutes; after half an hour in RUNNABLE something is in the way."""
LOOK_BACK = timedelta(hours=2)
STALE_UPLOAD = timedelta(days=1)
TIDIED_AT = "T03:0", "01234"
"""Hour and tens of minutes, minutes (UTC): of the rounds of a day one begins then, and that one also tidies up."""


def reconcile(open_store: OpenStore, sfn: Any, machines: dict[str, str]) -> list[str]:
    """Explain every execution that ended badly lately and has no failure in its tenant's ledger; returns their names."""
    explained = []
    since = datetime.now(UTC) - LOOK_BACK
    for machine in machines.values():
        for status in explain.ENDED_BADLY:
            for execution in ended(sfn, machine, status):
                if execution["stopDate"] > since and not _explained(open_store, sfn, execution["executionArn"]):
                    explain.explain(open_store, sfn, execution["executionArn"])
                    explained.append(str(execution["name"]))
    return explained


def ended(sfn: Any, machine: str, status: str) -> list[dict[str, Any]]:
    """All of this status. They come by their start, so one that ran for days and ended now may stand on any page."""
    found: list[dict[str, Any]] = []
    page: dict[str, str] = {}
    while True:
        answer = sfn.list_executions(stateMachineArn=machine, statusFilter=status, maxResults=1000, **page)
        found += answer["executions"]
        if not answer.get("nextToken"):
            return found
        page = {"nextToken": answer["nextToken"]}


def _explained(open_store: OpenStore, sfn: Any, arn: str) -> bool:
    execution = sfn.describe_execution(executionArn=arn)
    tenant, run_id = explain.tenant_of(execution), execution["name"]
    if not tenant:
        return True  # nobody's run: somebody started the machine by hand
    store = open_store(tenant)
    try:
        given = manifest.read_brief(store, tenant, run_id)
    except BadInput:
        return True  # its work files have expired: there is nothing left to explain from
    events = {event["event"] for event in ledger.events(store, tenant, given.received[:10], run_id)}
    return f"failed-{execution.get('redriveCount', 0)}" in events


def stuck_jobs(batch: Any, queues: list[str]) -> list[dict[str, Any]]:
    """Queues where jobs have waited in RUNNABLE for longer than `STUCK` while none runs, with the likely cause in a sentence.

    Behind jobs that run others wait for their turn, in a large run for hours.
    """
    found = []
    limit = datetime.now(UTC) - STUCK
    for queue in queues:
        waiting = [job for job in _jobs(batch, queue, "RUNNABLE") if _created(job) < limit]
        if waiting and next(_jobs(batch, queue, "RUNNING"), None) is None:
            first = min(waiting, key=_created)
            minutes = int((datetime.now(UTC) - _created(first)).total_seconds() // 60)
            oldest = {"job": first["jobId"], "name": first["jobName"], "minutes": minutes}
            found.append({"queue": queue, "jobs": len(waiting), **oldest, "cause": _why_stuck(batch, queue)})
    return found


def _jobs(batch: Any, queue: str, status: str) -> Iterator[dict[str, Any]]:
    for page in batch.get_paginator("list_jobs").paginate(jobQueue=queue, jobStatus=status):
        yield from page["jobSummaryList"]


def _created(job: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(job["createdAt"] / 1000, UTC)


def _why_stuck(batch: Any, queue: str) -> str:
    described = batch.describe_job_queues(jobQueues=[queue])["jobQueues"]
    if not described or described[0]["state"] != "ENABLED":
        return "the job queue is disabled"
    order = [one["computeEnvironment"] for one in described[0]["computeEnvironmentOrder"]]
    environments = batch.describe_compute_environments(computeEnvironments=order)["computeEnvironments"]
    for environment in environments:
        if environment.get("status") == "INVALID":
            return (
                f"the compute environment {environment['computeEnvironmentName']} is invalid: {environment.get('statusReason')}"
            )
    kinds = {environment.get("computeResources", {}).get("type", "") for environment in environments}
    if kinds & {"SPOT", "EC2"}:
        return "no instance could be started: most often the account's vCPU quota for GPU instances is 0 (tilery preflight)"
    return "Fargate has no free capacity, or the account's Fargate vCPU quota is used up (tilery preflight)"


def stale_uploads(s3: Any, bucket: str) -> list[dict[str, str]]:
    """Multipart uploads to the drop bucket that began over a day ago: somebody's upload broke off."""
    pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix="drop/")
    uploads = (one for page in pages for one in page.get("Uploads", []))
    limit = datetime.now(UTC) - STALE_UPLOAD
    return [{"key": one["Key"], "since": one["Initiated"].isoformat()} for one in uploads if one["Initiated"] < limit]


def to_tidy(event: Mapping[str, Any], tenants: str) -> list[str]:
    """Whose data this round tidies up: once a day that of all `tenants` (joined by commas), or whose the event names.

    >>> to_tidy({"time": "2026-11-21T03:04:59Z"}, "acme,other"), to_tidy({"time": "2026-11-21T03:05:00Z"}, "acme,other")
    (['acme', 'other'], [])
    """
    if named := event.get("detail", {}).get("tidy"):
        return [str(tenant) for tenant in named]
    time, (hour, minutes) = event.get("time", ""), TIDIED_AT
    return [tenant for tenant in tenants.split(",") if tenant] if time[10:15] == hour and time[15:16] in [*minutes] else []


def tidy(open_store: OpenStore, tenants: Iterable[str]) -> dict[str, Any]:
    """What the workloads freed, by tenant/workload. One that fails is told and keeps no other from it."""
    freed = {}
    for tenant in tenants:
        store = open_store(tenant)
        for name in registry.names():
            try:
                found = registry.load(name).tidy(store, tenant)
            except Exception as error:
                log.exception("tidying %s of %s", name, tenant)
                found = {"failed": f"{type(error).__name__}: {error}"}
            if found:
                freed[f"{tenant}/{name}"] = found
    return freed
