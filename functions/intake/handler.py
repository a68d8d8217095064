"""intake: an S3 event -> ignore it, or start a run."""

from tilery import keys, manifest
from tilery.nanoservice import Event, nanoservice
from tilery.store import open_store


@nanoservice("intake")
def handler(event: Event) -> dict[str, object]:
    detail = event["event"]["detail"]
    bucket, uploaded = detail["bucket"]["name"], detail["object"]
    key, version, size = uploaded["key"], uploaded.get("version-id", ""), uploaded.get("size")
    try:
        given = manifest.receive(open_store(keys.parse_drop(key).tenant), bucket, key, version, size)
    except (keys.BadKey, manifest.Ignored) as why:
        return {"start": False, "why": str(why), "key": key}
    return {
        "start": True,
        "why": "",
        "workload": given.workload,
        "run_id": given.run_id,
        "input": manifest.execution_input(given),
    }
