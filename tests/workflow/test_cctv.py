"""Video through the real state machines: segments on several workers, one tracker, products; and lines drawn afterwards."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cctv_runs import MOTION, WALKERS, film_street
from tests.workflow.spine import dropped
from tests.workflow.test_cli_up import ROOT
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


def test_lines_drawn_in_the_report_are_counted_by_redo_where_no_twin_runs_and_no_detector_does(
    tmp_path: Path, video: Path
) -> None:
    """As after `tilery run`: redo does the run itself, in the folder of the first one, and leaves it whole when it fails."""
    out = tmp_path / "street"

    def tilery(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cli.main", *arguments]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90)

    settings = ("--set", "detector=motion", "--set", "lane=fargate", "--set", "segment_s=10")
    first = tilery("run", "cctv", str(video), "--out", str(out), *settings)
    assert first.returncode == 0, first.stderr
    before = looked(out / ".tilery")
    assert len(before) == 2
    again = tilery("redo", "latest", "--root", str(out), "--set", 'lines={"mine":[[160,191],[160,0]]}')
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == str(out / "run.json")
    assert looked(out / ".tilery") == before, "no segment was looked at again"
    crossings = (out / "crossings.csv").read_text()
    passing = [walker for walker in WALKERS if walker.start_s + 172 / abs(walker.speed) < 13]
    assert [line.split(",")[:2] for line in crossings.splitlines()[1:]] == [
        ["mine", "A->B" if walker.speed > 0 else "B->A"]
        for walker in sorted(passing, key=lambda walker: walker.start_s + 172 / abs(walker.speed))
    ]
    wrong = tilery("redo", "latest", "--root", str(out), "--set", "zone=Mars/Olympus")
    assert wrong.returncode == 2
    assert "no time zone" in wrong.stderr
    assert f"--root {out}" in wrong.stdout + wrong.stderr
    assert (out / "crossings.csv").read_text() == crossings
    assert json.loads((out / "run.json").read_text())["status"] == "SUCCEEDED"


def looked(root: Path) -> dict[str, int]:
    """Every finished segment and when it was finished."""
    return {str(path): path.stat().st_mtime_ns for path in root.glob("work/local/process/*/done/*.json")}
