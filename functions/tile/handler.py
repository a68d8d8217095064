"""tile: one packed job of the tile stage."""

from dataclasses import asdict

from tilery.nanoservice import Event, nanoservice
from tilery.store import open_store
from tilery.worker import run_job


@nanoservice("tile")
def handler(event: Event) -> dict[str, object]:
    return asdict(run_job(open_store(event["tenant"]), event["tenant"], event["run_id"], event["stage"], event["job"]))
