"""intake: an S3 event -> ignore it, or start a run."""

import json
import os

from tilery import keys, manifest
from tilery.nanoservice import Event, nanoservice
from tilery.store import open_store


@nanoservice("intake")
def handler(event: Event) -> dict[str, object]:
    detail = event["event"]["detail"]
    bucket, uploaded = detail["bucket"]["name"], detail["object"]
    key, version, size = uploaded["key"], uploaded.get("version-id", ""), uploaded.get("size")
    try:
        drop = keys.parse_drop(key)
        _must_run_here(drop.workload)
        given = manifest.receive(open_store(drop.tenant), bucket, key, version, size)
    except (keys.BadKey, manifest.Ignored) as why:
        return {"start": False, "why": str(why), "key": key}
    return {
        "start": True,
        "why": "",
        "workload": given.workload,
        "run_id": given.run_id,
        "input": manifest.execution_input(given),
    }


def _must_run_here(workload: str) -> None:
    """The library knows workloads that this deployment may lack: then there is no machine that could do the run."""
    deployed = list(json.loads(os.environ.get("TILERY_PIPELINES", "{}")))
    if deployed and workload not in deployed:
        raise manifest.Ignored(f"there is no workload {workload!r} here; choose one of: {', '.join(deployed)}")
