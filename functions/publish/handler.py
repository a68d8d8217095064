"""publish: products, report, and run.json last."""

from tilery.nanoservice import Event, nanoservice
from tilery.publishing import publish
from tilery.store import open_store


@nanoservice("publish")
def handler(event: Event) -> dict[str, object]:
    record = publish(open_store(event["tenant"]), event["tenant"], event["run_id"])
    count = len(record.products) + sum(listing.count for listing in record.listed)
    return {"status": record.status, "products": count, "missing": len(record.missing)}
