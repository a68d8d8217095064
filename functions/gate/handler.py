"""gate: let a run go on to the next stage, or have it wait for a person."""

import boto3

from tilery import gates
from tilery.nanoservice import Event, nanoservice
from tilery.store import open_store


@nanoservice("gate")
def handler(event: Event) -> dict[str, object]:
    store = open_store(event["tenant"])
    waits = gates.arrive(store, boto3.client("stepfunctions"), event["tenant"], event["run_id"], event["stage"], event["token"])
    return {"waits": waits}
