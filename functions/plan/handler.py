"""plan: the next stage that is not complete -> a list of packed jobs."""

from dataclasses import asdict

from tilery import stages, worker
from tilery.nanoservice import Event, nanoservice
from tilery.store import open_store


@nanoservice("plan")
def handler(event: Event) -> dict[str, object]:
    store = open_store(event["tenant"])
    return asdict(stages.plan(store, stages.read_run(store, event["tenant"], event["run_id"]), worker.planning_work))
