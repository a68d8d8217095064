"""The real workloads with one fault, told through the environment: options, and so fingerprints, stay those of users.

`TOLD_FAULT` is JSON {"stage", "item", "how", "flag"}: at that item of that stage the verb fails (`fail`), or writes its
process number to the file `flag` and waits to be killed (`hang`), which it does only where that file is not there yet.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

from tilery.outcomes import Outcome
from tilery.workload import Done, Item, Work, Workload
from tilery.workloads.cctv.workload import Cctv
from tilery.workloads.features.workload import Features
from tilery.workloads.images.workload import Images
from tilery.workloads.pointcloud.workload import PointCloud
from tilery.workloads.trend.workload import Trend

FAULT = "TOLD_FAULT"


class Faulty(Workload[Any]):
    def tile(self, work: Work[Any], item: Item) -> dict[str, Any]:
        _fault("tile", item)
        return super().tile(work, item)

    def process(self, work: Work[Any], item: Item) -> dict[str, Any]:
        _fault("process", item)
        return super().process(work, item)

    def merge(self, work: Work[Any], item: Item) -> dict[str, Any]:
        _fault("merge", item)
        return super().merge(work, item)

    def finish(self, work: Work[Any], item: Item) -> dict[str, Any]:
        _fault("finish", item)
        return super().finish(work, item)

    def whole(self, work: Work[Any], items: list[Item]) -> list[Done] | None:
        _fault("whole", items[0])
        return super().whole(work, items)


class FaultyPointCloud(Faulty, PointCloud): ...


class FaultyImages(Faulty, Images): ...


class FaultyFeatures(Faulty, Features): ...


class FaultyTrend(Faulty, Trend): ...


class FaultyCctv(Faulty, Cctv): ...


FAULTY = {
    kind.name: f"{__name__}:{kind.__name__}"
    for kind in (FaultyPointCloud, FaultyImages, FaultyFeatures, FaultyTrend, FaultyCctv)
}


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
