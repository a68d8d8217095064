"""kill -9 of the twin after each kind of journal record, of a Lambda worker and of a Batch job, in runs of a real point cloud.

Afterwards the same command, or a retry, completes the run: no finished item is done again, the products are those of a run
that nothing disturbed, and no process is left over.
"""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.drops import SHARDED, Cloud, Ended, thin_laz
from tests.processes import alive

TWIN_THAT_DIES = """
import os, signal, sys
from cli.main import invoke
from twin.journal import Journal

spared = sys.argv[1].split(",")
append = Journal.append

def append_then_die(journal, record):
    append(journal, record)
    where = "map" if journal.path.parent.name.endswith(".maps") else journal.path.parent.name.removeprefix("tilery-")
    kind = f"{where} {record['type']}"
    if kind not in spared:
        journal.flush()
        os.write(1, kind.encode())
        os.kill(os.getpid(), signal.SIGKILL)

Journal.append = append_then_die
sys.exit(invoke(sys.argv[2:]))
"""
"""`tilery`, killed right after the first record that is not of a spared kind; it says which. A kind is the journal (of ingest,
the run, or a map) and the record's type."""


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("survey") / "survey.laz"
    path.write_bytes(thin_laz())
    return path


@pytest.fixture(scope="module")
def undisturbed(survey: Path, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The same run without any fault."""
    ended = Cloud(tmp_path_factory.mktemp("undisturbed")).run(survey, *SHARDED)
    assert ended.code == 0, ended.err
    return ended


def gone(cloud: Cloud) -> bool:
    """Whether every process that the commands started has ended, after a moment for the kernel."""
    deadline = time.monotonic() + 5
    while left := cloud.processes():
        if time.monotonic() > deadline:
            return not left
        time.sleep(0.02)
    return True


def unchanged(before: dict[str, int], after: dict[str, int]) -> bool:
    """Whether no item that had its marker was done again."""
    return all(after.get(marker) == written for marker, written in before.items())


def kinds_written(root: Path) -> set[str]:
    kinds = set()
    for path in (root / "twin/executions").rglob("*.jsonl"):
        scope = "map" if path.parent.name.endswith(".maps") else path.parent.name.removeprefix("tilery-")
        kinds |= {f"{scope} {json.loads(line)['type']}" for line in path.read_text().splitlines()}
    return kinds


@pytest.mark.long("it kills 17 twins one after another")
def test_a_twin_killed_after_each_kind_of_record_goes_on_where_it_was(cloud: Cloud, survey: Path, undisturbed: Ended) -> None:
    killed: list[str] = []
    while True:
        before = cloud.markers()
        ended = cloud.run_apart(survey, *SHARDED, program=("-c", TWIN_THAT_DIES, ",".join(killed)))
        assert unchanged(before, cloud.markers()), f"after {killed}"
        assert gone(cloud), f"after {killed}: {cloud.processes()}"
        if ended.code != -signal.SIGKILL:
            break
        killed.append(ended.out)
    assert ended.code == 0, ended.err
    assert set(killed) == kinds_written(undisturbed.root)
    assert ended.products == undisturbed.products
    runs = list(cloud.out.glob(".tilery/ledger/*/*/*/"))
    assert len(runs) == 2, "one run through all kills; the last came after its end, and its products were asked for again"


@pytest.mark.parametrize("stage", ["process"])
def test_a_twin_killed_while_an_item_is_worked_on_does_only_that_and_what_follows(
    cloud: Cloud, survey: Path, undisturbed: Ended, stage: str
) -> None:
    wanted = undisturbed.items(stage)
    process = cloud.start_run(survey, *SHARDED, fault={"stage": stage, "item": wanted[2], "how": "hang"})
    worker = cloud.hanging(process)
    before = cloud.markers()
    process.kill()
    process.communicate()
    assert gone(cloud)
    assert not alive(worker)
    assert {Path(marker).stem for marker in before if marker.split("/")[1] == stage} == set(wanted[:2])
    ended = cloud.run_apart(survey, *SHARDED)
    assert ended.code == 0, ended.err
    assert "going on with the unfinished run" in ended.err
    assert unchanged(before, cloud.markers())
    assert ended.products == undisturbed.products


@pytest.mark.parametrize(
    ("stage", "settings"),
    [
        ("tile", SHARDED),
        pytest.param("whole", ("--set", "lane=lambda", *SHARDED[2:]), marks=pytest.mark.long("tile has most of it")),
    ],
)
def test_a_killed_lambda_worker_is_tried_again_in_the_same_run(
    cloud: Cloud, survey: Path, undisturbed: Ended, stage: str, settings: tuple[str, ...]
) -> None:
    item = undisturbed.items("tile")[2 if stage == "tile" else 0]
    process = cloud.start_run(survey, *settings, fault={"stage": stage, "item": item, "how": "hang"})
    worker = cloud.hanging(process)
    before = cloud.markers()
    os.kill(worker, signal.SIGKILL)
    ended = cloud.ended(process)
    assert ended.code == 0, ended.err
    assert unchanged(before, cloud.markers())
    assert ended.products == undisturbed.products
    assert gone(cloud)


def test_a_killed_batch_job_is_tried_again_and_does_only_what_is_missing(
    cloud: Cloud, survey: Path, undisturbed: Ended
) -> None:
    wanted = undisturbed.items("process")
    process = cloud.start_run(survey, *SHARDED, fault={"stage": "process", "item": wanted[2], "how": "hang"})
    worker = cloud.hanging(process)
    before = cloud.markers()
    os.kill(worker, signal.SIGKILL)
    ended = cloud.ended(process)
    assert ended.code == 0, ended.err
    assert {Path(marker).stem for marker in before if marker.split("/")[1] == "process"} == set(wanted[:2])
    assert unchanged(before, cloud.markers())
    assert ended.products == undisturbed.products
    assert gone(cloud)
