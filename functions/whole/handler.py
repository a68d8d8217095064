"""whole: every stage of a small drop in one worker."""

from tilery.nanoservice import Event, nanoservice
from tilery.store import open_store
from tilery.whole import whole


@nanoservice("whole")
def handler(event: Event) -> dict[str, object]:
    whole(open_store(event["tenant"]), event["tenant"], event["run_id"])
    return {"whole": True}
