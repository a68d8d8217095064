"""The promises of the spine, kept by the workloads beside point clouds: what fails or is killed is repeated, alone, and nothing
else; holes are told. Through the command line, with real files and real processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.drops import Cloud, Ended
from tests.unit.test_features_run import drop, small_model
from tests.unit.trend_files import write

RANDOM = np.random.default_rng(5)


def pictures(folder: Path) -> None:
    """Each so large that it is a list of its own."""
    for number in range(3):
        picture = folder / f"district-{number}" / "plan.tif"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4000, 2800), (80 * number, 90, 100)).save(picture)


def shapes(folder: Path) -> None:
    for name, data in {**drop(200), "small.onnx": small_model()}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def series(folder: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(6):
        values = RANDOM.integers(100, 900, (260, 390)).astype(np.uint16)
        write(folder / f"p_{date(2020, 1, 1) + timedelta(days=90 * number)}.tif", values)


@dataclass(frozen=True)
class Case:
    workload: str
    make: Callable[[Path], None]
    settings: tuple[str, ...]

    def arguments(self, folder: Path) -> list[str | Path]:
        return [folder, "--set", "lane=fargate", *(part for setting in self.settings for part in ("--set", setting))]


CASES = [
    Case("images", pictures, ('operations=[["resize", "40x30"]]', "output=png")),
    Case("features", shapes, ("backbone=small.onnx", "size_px=16", "components=3", "list_pictures=64")),
    Case("trend", series, ("block=128", "window=128")),
]
LONG = {"trend": [pytest.mark.long("trend's workers compile for long on a fresh clone")]}


@pytest.fixture(
    scope="module", params=[pytest.param(case, id=case.workload, marks=LONG.get(case.workload, [])) for case in CASES]
)
def case(request: pytest.FixtureRequest) -> Case:
    found: Case = request.param
    return found


@pytest.fixture(scope="module")
def inputs(case: Case, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(case.workload) / "set"
    case.make(folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(case: Case, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    ended = Cloud(tmp_path_factory.mktemp("undisturbed"), case.workload).run(*case.arguments(inputs))
    assert ended.code == 0, ended.err
    assert len(ended.items("process")) >= 3
    return ended


@pytest.fixture
def cloud(case: Case, tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud(tmp_path, case.workload)
    yield made
    for pid in made.processes():
        os.kill(pid, signal.SIGKILL)


def test_what_failed_and_what_was_killed_is_done_again_and_nothing_else(
    cloud: Cloud, case: Case, inputs: Path, undisturbed: Ended
) -> None:
    bad = undisturbed.items("process")[1]
    failed = cloud.run_apart(*case.arguments(inputs), fault={"stage": "process", "item": bad, "how": "fail"})
    assert failed.code == 1, failed.err
    assert failed.failure["redrive"]
    before = cloud.markers()

    process = cloud.start_run(*case.arguments(inputs), fault={"stage": "process", "item": bad, "how": "hang"})
    os.kill(cloud.hanging(process), signal.SIGKILL)
    ended = cloud.ended(process)
    assert ended.code == 0, ended.err
    after = cloud.markers()
    assert {marker: after.get(marker) for marker in before} == before
    assert ended.products == undisturbed.products


def test_a_hole_that_is_tolerated_is_told(cloud: Cloud, case: Case, inputs: Path, undisturbed: Ended) -> None:
    bad = undisturbed.items("process")[1]
    arguments = [*case.arguments(inputs), "--set", "tolerate=60"]
    ended = cloud.run_apart(*arguments, fault={"stage": "process", "item": bad, "how": "fail"})
    assert ended.code == 3, ended.err
    assert ended.record["status"] == "PARTIAL"
    assert any(bad in warning or "missing" in warning for warning in ended.record["warnings"]), ended.record["warnings"]
    assert ended.products != undisturbed.products
