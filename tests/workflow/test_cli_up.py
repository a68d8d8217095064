"""`tilery up` and the commands that talk to it: drop, runs, pause, resume, stop, redrive, redo, get."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.toys import SUMS

ROOT = Path(__file__).parents[2]
DEADLINE_S = 90


class Up:
    """A twin with a watched folder, and the command line that talks to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        self.environment = {**os.environ, **SUMS, "PYTHONPATH": str(ROOT), "HOME": str(folder), "TILERY_ROOT": str(self.root)}
        self.log = folder / "up.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "up"], cwd=folder, env=self.environment, stdout=log, stderr=log
            )
        self.until(lambda: "Ctrl-C stops" in self.said)

    @property
    def said(self) -> str:
        return self.log.read_text()

    def until(self, true: Any) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not true():
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.1)

    def tilery(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cli.main", *arguments]
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=60)

    def ok(self, *arguments: str) -> str:
        """stdout of a command that must succeed."""
        ended = self.tilery(*arguments)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout.strip()

    def show(self, run: str) -> Any:
        return json.loads(self.ok("show", run, "--json"))

    def status(self, run: str) -> str:
        return str(self.show(run)["status"])

    def drop(self, *settings: str) -> str:
        given = [part for setting in settings for part in ("--set", setting)]
        return self.ok("drop", "sums", "one.txt", *given)

    def known(self, run: str) -> bool:
        return self.tilery("show", run, "--json").returncode == 0

    def stop(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    (tmp_path / "one.txt").write_text("".join(f"{number}\n" for number in range(1, 41)))
    twin = Up(tmp_path)
    yield twin
    twin.process.kill()
    twin.process.wait()


def test_a_file_copied_into_the_folder_is_worked_on_and_others_are_answered(up: Up) -> None:
    drop = up.root / "drop" / "local" / "sums"
    assert ".txt" in (drop / "README.md").read_text()
    (drop / "two.txt").write_text("1\n2\n")
    (drop / "photo.png").write_bytes(b"x")

    up.until(lambda: "accepted: drop/local/sums/two.txt" in up.said and "succeeded: run" in up.said)
    up.until(lambda: "ignored: 'photo.png' is not a file that sums reads" in up.said)
    assert up.ok("get", "sums/two.txt", "--out", "got") == "got/run.json"
    assert json.loads((up.folder / "got" / "sums.json").read_text()) == [{"name": "two.txt", "scaled": 5}]
    assert "README" not in up.said
    assert up.stop() == 0
    assert "Traceback" not in up.said


def test_a_drop_can_be_paused_resumed_and_done_again_with_another_option(up: Up) -> None:
    run = up.drop("lane=fargate", 'pause=["tile"]')
    up.until(lambda: up.known(run) and (up.root / "work" / "local" / "runs" / run / "gates" / "tile.json").exists())
    assert up.status(run) == "RUNNING"
    up.ok("resume", run)
    up.until(lambda: up.status(run) == "SUCCEEDED")

    again = up.ok("redo", run[:8], "--set", "scale=2")
    up.until(lambda: up.status(again) == "SUCCEEDED")
    calls = list(up.root.glob("work/local/process/*/calls/*"))
    assert len(calls) == 4
    assert up.tilery("redo", run).returncode == 2


def test_a_run_that_was_stopped_can_be_redriven(up: Up) -> None:
    run = up.drop("lane=fargate", "sleep_s=1", "lines=4")
    up.until(lambda: list(up.root.glob("work/local/process/*/done/*")))
    up.ok("stop", run)
    up.until(lambda: up.status(run) == "FAILED")
    assert up.show(run)["failure"]["status"] == "ABORTED"
    done = {path.stem for path in up.root.glob("work/local/process/*/done/*")}
    up.ok("redrive", run)
    up.until(lambda: up.status(run) == "SUCCEEDED")

    calls = [path.name.split(".")[0] for path in up.root.glob("work/local/process/*/calls/*")]
    assert done
    assert all(calls.count(item) == 1 for item in done)


def test_a_second_twin_in_the_same_folder_is_refused(up: Up) -> None:
    ended = up.tilery("up")

    assert ended.returncode == 2
    assert "a twin runs in" in ended.stderr
