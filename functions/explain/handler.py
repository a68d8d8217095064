"""explain: a run that ended badly -> failure.json in plain words, ledger, notice."""

import boto3

from tilery.explain import explain
from tilery.nanoservice import Event, nanoservice
from tilery.store import open_store


@nanoservice("explain")
def handler(event: Event) -> dict[str, object]:
    failure = explain(open_store, boto3.client("stepfunctions"), event["detail"]["executionArn"])
    return {"explained": failure is not None}
