"""size: headers by range reads -> lane, estimate, first stage's items."""

from tilery.nanoservice import Event, nanoservice
from tilery.sizing import size
from tilery.store import open_store


@nanoservice("size")
def handler(event: Event) -> dict[str, object]:
    run = size(open_store(event["tenant"]), event["tenant"], event["run_id"])
    return {"lane": run.lane, "reason": run.lane_reason, "counts": run.counts, "estimate": run.estimate.model_dump()}
