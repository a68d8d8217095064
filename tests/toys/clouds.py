"""The point cloud workload with one fault, told through the environment: options, and so fingerprints, stay those of users.

`CLOUD_FAULT` is JSON {"stage", "item", "how", "flag"}: at that item of that stage the verb fails (`fail`), or writes its
process number to the file `flag` and waits to be killed (`hang`), which it does only where that file is not there yet.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from tilery.outcomes import Outcome
from tilery.workload import Done, Item, Work
from tilery.workloads.pointcloud.options import PointCloudOptions
from tilery.workloads.pointcloud.workload import PointCloud

FAULT = "CLOUD_FAULT"


class FaultyPointCloud(PointCloud):
    def tile(self, work: Work[PointCloudOptions], item: Item) -> dict[str, Any]:
        _fault("tile", item)
        return super().tile(work, item)

    def process(self, work: Work[PointCloudOptions], item: Item) -> dict[str, Any]:
        _fault("process", item)
        return super().process(work, item)

    def whole(self, work: Work[PointCloudOptions], items: list[Item]) -> list[Done]:
        _fault("whole", items[0])
        return super().whole(work, items)


def _fault(stage: str, item: Item) -> None:
    fault = json.loads(os.environ.get(FAULT, "{}"))
    if (fault.get("stage"), fault.get("item")) != (stage, item["id"]):
        return
    if fault["how"] == "fail":
        raise Outcome(f"{item['id']} was told to fail")
    flag = Path(fault["flag"])
    if not flag.exists():
        flag.with_suffix(".part").write_text(str(os.getpid()))
        flag.with_suffix(".part").rename(flag)
        time.sleep(120)
