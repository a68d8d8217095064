"""explain: a run that ended badly -> failure.json in plain words, ledger, notice."""

import json

import boto3

from tilery.explain import explain
from tilery.nanoservice import Event, nanoservice
from tilery.store import open_store


@nanoservice("explain")
def handler(event: Event) -> dict[str, object]:
    detail = event["detail"]
    tenant = json.loads(detail["input"])["tenant"] if detail.get("input") else ""
    failure = explain(open_store(tenant), boto3.client("stepfunctions"), detail["executionArn"])
    return {"explained": failure is not None}
