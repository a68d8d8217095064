"""publish: products, report, and run.json last."""

from tilery.nanoservice import Event, nanoservice
from tilery.publishing import publish
from tilery.store import open_store


@nanoservice("publish")
def handler(event: Event) -> dict[str, object]:
    record = publish(open_store(event["tenant"]), event["tenant"], event["run_id"])
    return {"status": record.status, "products": len(record.products), "missing": len(record.missing)}
