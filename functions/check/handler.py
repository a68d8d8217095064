"""check: the stage's markers against its plan -> go on, go round again, or Incomplete."""

from dataclasses import asdict

from tilery import explain, stages
from tilery.nanoservice import Event, nanoservice
from tilery.store import open_store


@nanoservice("check")
def handler(event: Event) -> dict[str, object]:
    store = open_store(event["tenant"])
    run = stages.read_brief(store, event["tenant"], event["run_id"])
    again = stages.check(store, run, event["stage"], int(event["round"]), bool(event["redriven"]))
    if again is None:
        return {"again": False, "jobs": "", "count": 0}
    explain.redriven(store, run.tenant, run.run_id, int(event.get("redrives", 0)))
    return {"again": True, **asdict(again)}
