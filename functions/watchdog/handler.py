"""watchdog: what events may have missed."""

import json
import os

import boto3

from tilery import dead_letters, watchdog
from tilery.nanoservice import Event, nanoservice
from tilery.store import open_store


@nanoservice("watchdog")
def handler(event: Event) -> dict[str, object]:
    machines = json.loads(os.environ["TILERY_PIPELINES"])
    found: dict[str, object] = {"explained": watchdog.reconcile(open_store, boto3.client("stepfunctions"), machines)}
    if queues := [queue for queue in os.environ.get("TILERY_QUEUES", "").split(",") if queue]:
        found["stuck"] = watchdog.stuck_jobs(boto3.client("batch"), queues)
    if bucket := os.environ.get("TILERY_DROP_BUCKET", ""):
        found["stale_uploads"] = watchdog.stale_uploads(boto3.client("s3"), bucket)
    if letters := os.environ.get("TILERY_DEAD_LETTERS", ""):
        ingest, clients = os.environ["TILERY_INGEST"], (boto3.client("sqs"), boto3.client("stepfunctions"))
        found["handed_in_again"] = dead_letters.hand_in_again(*clients, letters, ingest)
    if tenants := watchdog.to_tidy(event, os.environ.get("TILERY_TENANTS", "")):
        found["tidied"] = watchdog.tidy(open_store, tenants)
    return found
