"""`tilery run` as people and scripts use it: a real process, a real twin, products in a folder."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.toys import SUMS

ROOT = Path(__file__).parents[2]


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def last_line(self) -> str:
        return self.out.splitlines()[-1]


class Tilery:
    """The command line in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self._started: list[subprocess.Popen[str]] = []
        self.environment = {**os.environ, **SUMS, "PYTHONPATH": str(ROOT), "HOME": str(folder)}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "cli.main", *arguments]
        process = subprocess.Popen(
            command, cwd=self.folder, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._started.append(process)
        return process

    def wait_for(self, process: subprocess.Popen[str], pattern: str, count: int = 1) -> list[Path]:
        """Files below the output folder, once there are so many of them; fails when the process ends before."""
        while len(found := list(self.out.glob(pattern))) < count:
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        return found

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()

    def __call__(self, *arguments: str) -> Ended:
        process = self.start(*arguments)
        out, err = process.communicate(timeout=120)
        return Ended(process.returncode, out, err)

    def run(self, *arguments: str) -> Ended:
        return self("run", "sums", *arguments, "--out", str(self.out))

    def json(self, *arguments: str) -> Any:
        ended = self(*arguments, "--json", "--root", str(self.out))
        assert ended.code == 0, ended.err
        return json.loads(ended.out)

    @property
    def record(self) -> Any:
        return json.loads((self.out / "run.json").read_text())

    def calls(self) -> dict[str, int]:
        """How often each process item was really worked on."""
        count: dict[str, int] = {}
        for path in self.out.glob(".tilery/work/*/process/*/calls/*"):
            count[path.name.split(".")[0]] = count.get(path.name.split(".")[0], 0) + 1
        return count


@pytest.fixture
def tilery(tmp_path: Path) -> Iterator[Tilery]:
    (tmp_path / "one.txt").write_text("".join(f"{number}\n" for number in range(1, 41)))
    command_line = Tilery(tmp_path)
    yield command_line
    command_line.close()


TOTAL = sum(number * number for number in range(1, 41))
SHARDED = ("--set", "lane=fargate")


def test_a_run_ends_with_the_path_of_run_json_and_the_products_beside_it(tilery: Tilery) -> None:
    ended = tilery.run("one.txt")

    assert ended.code == 0, ended.err
    assert ended.last_line == str(tilery.out / "run.json")
    assert tilery.record["status"] == "SUCCEEDED"
    assert tilery.record["tenant"] == "local"
    for product in tilery.record["products"]:
        assert (tilery.out / product["path"]).stat().st_size == product["bytes"]
    assert json.loads((tilery.out / "sums.json").read_text()) == [{"name": "one.txt", "scaled": TOTAL}]


def test_a_log_of_the_run_names_its_stages(tilery: Tilery) -> None:
    ended = tilery.run("one.txt", *SHARDED)

    assert "reading headers" in ended.err
    assert ended.err.splitlines()[-1].endswith("succeeded")


def test_several_files_are_one_dataset_and_stay_as_they_were(tilery: Tilery) -> None:
    second = tilery.folder / "zwei ä.txt"
    second.write_text("5\n")
    before = second.stat()
    ended = tilery.run("one.txt", second.name, "--tenant", "acme")

    assert ended.code == 0, ended.err
    assert {line["name"] for line in json.loads((tilery.out / "sums.json").read_text())} == {"one.txt", "zwei ä.txt"}
    assert (second.read_text(), second.stat().st_mtime_ns) == ("5\n", before.st_mtime_ns)


def test_bad_content_ends_with_2_and_says_what_is_wrong_in_which_file(tilery: Tilery) -> None:
    (tilery.folder / "one.txt").write_text("1\ntwo\n")
    ended = tilery.run("one.txt")

    assert ended.code == 2
    assert ended.last_line == str(tilery.out / "run.json")
    assert "one.txt holds something that is not a whole number" in ended.err
    assert "Traceback" not in ended.err
    assert tilery.record["status"] == "FAILED"
    assert json.loads((tilery.out / "failure.json").read_text())["error"] == "BadInput"


def test_an_empty_file_is_bad_input(tilery: Tilery) -> None:
    (tilery.folder / "one.txt").write_bytes(b"")
    ended = tilery.run("one.txt")

    assert ended.code == 2
    assert "one.txt is empty (0 bytes)" in ended.err


def test_holes_that_are_tolerated_end_with_3(tilery: Tilery) -> None:
    ended = tilery.run("one.txt", *SHARDED, "--set", 'fail={"f0-1": "Outcome"}', "--set", "tolerate=30")

    assert ended.code == 3, ended.err
    assert tilery.record["status"] == "PARTIAL"
    assert tilery.record["missing"] == ["process/f0-1"]
    assert "PARTIAL" in ended.out


def test_a_tile_that_fails_ends_with_1_and_the_next_try_does_only_what_is_missing(tilery: Tilery) -> None:
    arguments = ("one.txt", *SHARDED, "--set", 'fail={"f0-1": "Outcome"}', "--set", "once=true")
    ended = tilery.run(*arguments)

    assert ended.code == 1
    assert tilery.record["status"] == "FAILED"
    assert json.loads((tilery.out / "failure.json").read_text())["redrive"] is True
    again = tilery.run(*arguments)
    assert again.code == 0, again.err
    assert not (tilery.out / "failure.json").exists()
    assert tilery.calls() == {"f0-0": 1, "f0-1": 2, "f0-2": 1, "f0-3": 1}


def test_a_second_run_with_another_option_of_a_late_stage_repeats_no_tile(tilery: Tilery) -> None:
    tilery.run("one.txt", *SHARDED)
    first = tilery.record["run_id"]
    ended = tilery.run("one.txt", *SHARDED, "--set", "scale=3")

    assert ended.code == 0, ended.err
    assert tilery.record["run_id"] != first
    assert json.loads((tilery.out / "sums.json").read_text())[0]["scaled"] == 3 * TOTAL
    assert set(tilery.calls().values()) == {1}


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.long("test_kills has most of it"))]
)
def test_a_run_that_was_interrupted_goes_on_with_the_same_command(tilery: Tilery, number: signal.Signals) -> None:
    arguments = ("one.txt", *SHARDED, "--set", "sleep_s=2", "--set", "lines=4")
    process = tilery.start("run", "sums", *arguments, "--out", str(tilery.out))
    done = {path.stem for path in tilery.wait_for(process, ".tilery/work/*/process/*/done/*", 2)}
    process.send_signal(number)
    _, err = process.communicate(timeout=60)

    assert not (tilery.out / "run.json").exists()
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "run the same command again" in err
        assert "Traceback" not in err
    ended = tilery.run(*arguments)
    assert ended.code == 0, ended.err
    assert "going on" in ended.err
    calls = tilery.calls()
    assert {calls[item] for item in done} == {1}
    assert len(tilery.json("runs")) == 1


def test_another_request_does_not_disturb_an_unfinished_one(tilery: Tilery) -> None:
    process = tilery.start("run", "sums", "one.txt", *SHARDED, "--set", "sleep_s=3", "--out", str(tilery.out))
    tilery.wait_for(process, ".tilery/work/*/process/*/calls/*")
    during = tilery.run("one.txt")
    process.kill()
    process.wait()
    after = tilery.run("one.txt")

    assert during.code == 2
    assert "another tilery works in" in during.err
    assert after.code == 2
    assert "unfinished run of other inputs or options" in after.err


def test_runs_show_logs_and_get_read_the_folder_of_a_run(tilery: Tilery) -> None:
    tilery.run("one.txt")
    run_id = tilery.record["run_id"]

    (line,) = tilery.json("runs")
    assert (line["run_id"], line["status"]) == (run_id, "SUCCEEDED")
    about = tilery.json("show", run_id[:6])
    assert about["record"]["status"] == "SUCCEEDED"
    assert next(event["event"] for event in about["events"]) == "received"
    logs = tilery("logs", "latest", "--root", str(tilery.out))
    assert "size-sums" in logs.out
    assert "_aws" not in logs.out
    got = tilery("get", "sums/one.txt", "--out", "copy", "--root", str(tilery.out))
    assert got.code == 0
    assert got.last_line == "copy/run.json"
    assert (tilery.folder / "copy" / "sums.json").read_bytes() == (tilery.out / "sums.json").read_bytes()
