"""kill -9 in every stage of a video's run, a segment that always fails, and media made to do harm; through the command line."""

from __future__ import annotations

import csv
import io
import os
import signal
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from tests.e2e.drops import Cloud, Ended, refused
from tests.unit.cctv_runs import film_street

SETTINGS = (
    "--set", "detector=motion", "--set", "lane=fargate", "--set", "segment_s=10", "--set", "annotate=true", "--set", "bin_s=10",
    "--set", 'lines={"middle":[[160,191],[160,0]]}',
)  # fmt: skip


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film_street(tmp_path_factory.mktemp("street") / "street.mp4", seconds=14)


@pytest.fixture(scope="module")
def undisturbed(video: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    ended = Cloud(tmp_path_factory.mktemp("undisturbed"), "cctv").run(video, *SETTINGS)
    assert ended.code == 0, ended.err
    return ended


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    made = Cloud(tmp_path, "cctv")
    yield made
    for pid in made.processes():
        os.kill(pid, signal.SIGKILL)


LONG = pytest.mark.long("test_kills, test_holes and test_cctv_products have most of it")


@pytest.mark.parametrize("stage", [pytest.param("process", marks=LONG), "finish"])
def test_a_worker_killed_in_a_stage_is_replaced_and_nothing_else_is_done_again(
    cloud: Cloud, video: Path, undisturbed: Ended, stage: str
) -> None:
    bad = undisturbed.items(stage)[-1]
    process = cloud.start_run(video, *SETTINGS, fault={"stage": stage, "item": bad, "how": "hang"})
    worker = cloud.hanging(process)
    before = cloud.markers()
    os.kill(worker, signal.SIGKILL)
    ended = cloud.ended(process)
    assert ended.code == 0, ended.err
    after = cloud.markers()
    assert {marker: after.get(marker) for marker in before} == before
    assert ended.products == undisturbed.products


@LONG
def test_a_segment_that_always_fails_is_a_span_that_is_missing_and_never_a_zero(
    cloud: Cloud, video: Path, undisturbed: Ended
) -> None:
    bad = undisturbed.items("process")[1]
    ended = cloud.run_apart(video, *SETTINGS, "--set", "tolerate=50", fault={"stage": "process", "item": bad, "how": "fail"})
    assert ended.code == 3, ended.err
    record = ended.record
    assert (record["status"], record["missing"]) == ("PARTIAL", [f"process/{bad}"])
    assert record["counts"]["missing_spans"] == [[10.0, 14.0]]
    rows = list(csv.DictReader(io.StringIO((cloud.out / "counts.csv").read_text())))
    hole = [row["count"] for row in rows if row["from_s"] == "10.000"]
    assert hole
    assert set(hole) == {""}
    report = (cloud.out / "report.html").read_text()
    assert 'data-missing="10-14"' in report
    with av.open(str(cloud.out / "annotated.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 100 + 1, "a slate stands for what is missing"


def huge(folder: Path) -> Path:
    """A PNG of a few bytes that says it has 30,000 x 30,000 pixels, as the frame of a folder."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    path = folder / "frames" / "000001.png"
    path.parent.mkdir()
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IEND\xaeB`\x82")
    return path.parent


def test_media_that_cannot_be_worked_on_is_refused_with_a_sentence(cloud: Cloud, tmp_path: Path) -> None:
    """One of many: the others are in tests/unit/test_cctv_probe.py."""
    refused(cloud.run(huge(tmp_path)), "000001.png", "megapixel")
