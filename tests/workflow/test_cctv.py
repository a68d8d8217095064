"""Video through the real state machines: segments on several workers, one tracker, products; and lines drawn afterwards."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cctv_runs import MOTION, WALKERS, film_street
from tests.workflow.spine import dropped
from tests.workflow.test_cli_up import Up
from tilery import keys
from tilery.store.directory import DirectoryStore
from twin.twin import Twin


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_street(tmp_path_factory.mktemp("street") / "street.mp4", seconds=14)


def test_both_lanes_publish_the_same_and_events_that_come_twice_are_one_run(tmp_path: Path, video: Path) -> None:
    store = DirectoryStore(tmp_path)

    def put(dataset: str, **options: Any) -> str:
        store.upload(str(video), f"drop/acme/cctv/{dataset}/street.mp4")
        key = f"drop/acme/cctv/{dataset}/{keys.READY}"
        store.put(key, json.dumps({"options": {**MOTION, "camera": "street", "annotate": True, **options}}).encode())
        return key

    async def live() -> list[tuple[str, str]]:
        async with Twin(tmp_path, workloads=["cctv"]) as twin:
            key = put("cut", lane="fargate", segment_s=10)
            cut, again = await dropped(twin, key), await dropped(twin, key)
            assert cut.run_id == again.run_id
            whole = await dropped(twin, put("whole", lane="lambda"))
            for run in (cut, whole):
                await twin.wait(run.run_id)
            late = await dropped(twin, key)
            assert late.run_id == cut.run_id, "an event that comes after the end starts nothing either"
            return [("cut", cut.run_id), ("whole", whole.run_id)]

    digests = []
    for dataset, run_id in asyncio.run(live()):
        folder = f"results/acme/cctv/{dataset}/{run_id}"
        record = json.loads(store.get(f"{folder}/run.json"))
        assert record["status"] == "SUCCEEDED", record
        names = [one["path"] for one in record["products"] if one["kind"] != "report"]
        digests.append({name: hashlib.sha256(store.get(f"{folder}/{name}")).hexdigest() for name in names})
        assert record["counts"]["frames"] == 140
    assert digests[0] == digests[1]
    assert "annotated.mp4" in digests[0]


def test_lines_drawn_in_the_report_are_counted_by_redo_and_no_detector_runs(tmp_path: Path, video: Path) -> None:
    (tmp_path / "street.mp4").write_bytes(video.read_bytes())
    up = Up(tmp_path)
    try:
        run = up.ok("drop", "cctv", "street.mp4", "--set", "detector=motion", "--set", "lane=fargate", "--set", "segment_s=10")
        up.until((up.root / f"results/local/cctv/street.mp4/{run}/run.json").exists)
        before = looked(up.root)
        assert len(before) == 2
        again = up.ok("redo", run[:8], "--set", 'lines={"mine":[[160,191],[160,0]]}')
        folder = up.root / f"results/local/cctv/street.mp4/{again}"
        up.until((folder / "run.json").exists)
        assert looked(up.root) == before, "no segment was looked at again"
        crossings = (folder / "crossings.csv").read_text().splitlines()[1:]
        passing = [walker for walker in WALKERS if walker.start_s + 172 / abs(walker.speed) < 13]
        assert [line.split(",")[:2] for line in crossings] == [
            ["mine", "A->B" if walker.speed > 0 else "B->A"]
            for walker in sorted(passing, key=lambda walker: walker.start_s + 172 / abs(walker.speed))
        ]
    finally:
        up.process.kill()
        up.process.wait()


def looked(root: Path) -> dict[str, int]:
    """Every finished segment and when it was finished."""
    return {str(path): path.stat().st_mtime_ns for path in root.glob("work/local/process/*/done/*.json")}
