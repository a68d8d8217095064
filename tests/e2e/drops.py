"""Drops through the command line, of point clouds unless told otherwise, and what they leave behind."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import laspy
import numpy as np
import psutil
import pytest

from cli.main import invoke
from tests.data import ROOT, autzen_trim
from tests.toys.faults import FAULT, FAULTY
from tests.unit.las_files import laz_of
from tilery.registry import EXTRA

SHARDED = ("--set", "lane=fargate", "--set", "shard_mib=0.03", "--set", "tile_area_km2=0.02")
"""A handful of shards and tiles of the thin sample."""
MARK = "E2E_MARK"
"""An environment variable that every process of a test inherits, so that what outlives the test can be found."""


@dataclass(frozen=True)
class Ended:
    """How one `tilery run` ended."""

    code: int
    out: str
    err: str
    folder: Path

    @property
    def root(self) -> Path:
        return self.folder / ".tilery"

    @property
    def record(self) -> Any:
        return json.loads((self.folder / "run.json").read_text())

    @property
    def failure(self) -> Any:
        return json.loads((self.folder / "failure.json").read_text())

    @property
    def ledger(self) -> dict[str, Any]:
        """Event -> what it says, in the order of their moments; a notice after the event that it tells of."""
        return ledger(self.root, self.record["run_id"])

    @property
    def products(self) -> dict[str, str]:
        """Path -> sha256 of every product but the report, which tells times."""
        paths = [product["path"] for product in self.record["products"] if product["kind"] != "report"]
        return {path: sha256(self.folder / path) for path in paths}

    def items(self, stage: str) -> list[str]:
        """The ids of a stage's items."""
        (path,) = self.root.glob(f"work/local/{stage}/*/items.jsonl")
        return [json.loads(line)["id"] for line in path.read_text().splitlines()]

    def classes(self, name: str) -> Any:
        return np.asarray(laspy.read(self.folder / "classified" / name).classification)


@dataclass
class Cloud:
    """A folder to work in: files, an output folder, and the command line."""

    folder: Path
    workload: str = "pointcloud"

    def __post_init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self.out = self.folder / "out"
        self.flag = self.folder / "hanging.pid"

    def run(self, *arguments: str | Path, out: str = "out") -> Ended:
        """`tilery run WORKLOAD ...` in this process."""
        said, told = io.StringIO(), io.StringIO()
        folder = self.folder / out
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(told):
            code = invoke(["run", self.workload, *map(str, arguments), "--out", str(folder)])
        return Ended(code, said.getvalue(), " ".join(told.getvalue().split()), folder)

    def start(
        self, *arguments: str | Path, fault: dict[str, str] | None = None, program: tuple[str, ...] = ("-m", "cli.main")
    ) -> subprocess.Popen[str]:
        """Any command line as a process of its own. With a `fault` the workload has it (tests/toys/faults.py)."""
        environment = {**os.environ, MARK: self.mark, "PYTHONPATH": str(ROOT), "HOME": str(self.folder)}
        if fault is not None:
            environment[EXTRA] = json.dumps({self.workload: FAULTY[self.workload]})
            environment[FAULT] = json.dumps({"flag": str(self.flag), **fault})
        return subprocess.Popen(
            [sys.executable, *program, *map(str, arguments)],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def start_run(self, *arguments: str | Path, **how: Any) -> subprocess.Popen[str]:
        return self.start("run", self.workload, *arguments, "--out", self.out, **how)

    def ended(self, process: subprocess.Popen[str]) -> Ended:
        out, err = process.communicate(timeout=120)
        return Ended(process.returncode, out, " ".join(err.split()), self.out)

    def run_apart(self, *arguments: str | Path, **how: Any) -> Ended:
        """`tilery run` in a process of its own."""
        return self.ended(self.start_run(*arguments, **how))

    def markers(self) -> dict[str, int]:
        """Every completion marker -> the moment it was written (ns)."""
        work = self.out / ".tilery" / "work"
        return {str(path.relative_to(work)): path.stat().st_mtime_ns for path in work.glob("*/*/*/done/*.json")}

    def hanging(self, process: subprocess.Popen[str]) -> int:
        """The number of the worker that waits in the fault."""
        deadline = time.monotonic() + 60
        while not self.flag.exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return int(self.flag.read_text())

    def processes(self) -> list[int]:
        """Processes that a command of this folder started and that still run."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
        return found


def ledger(root: Path, run_id: str) -> dict[str, Any]:
    found = [json.loads(path.read_text()) for path in root.glob(f"ledger/*/*/{run_id}/*.json")]
    found.sort(key=lambda event: (event["at"], event["event"].startswith("notice")))
    return {event["event"]: event for event in found}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def thin(every: int = 10) -> bytes:
    """The public sample with one of so many points, uncompressed."""
    las = laspy.read(autzen_trim())
    las.points = las.points[np.arange(0, len(las.points), every)]
    return written(las)


def written(las: laspy.LasData) -> bytes:
    out = io.BytesIO()
    las.write(out, do_compress=False)
    return out.getvalue()


def thin_laz(every: int = 10) -> bytes:
    """The same, compressed in chunks of 1,000 points, so that it makes several shards."""
    return laz_of(thin(every), 1_000)


def verified(before: Path, after: Path) -> None:
    """`tilery verify` finds no difference but the classification."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = invoke(["verify", str(before), str(after)])
    assert code == 0, said.getvalue()


def refused(ended: Ended, *words: str) -> None:
    """The run was refused as bad input: one sentence with these words, wherever a person or a program looks for it."""
    assert ended.code == 2, ended.err
    assert "Traceback" not in ended.err
    failure = ended.failure
    for word in words:
        assert word in failure["sentence"], failure["sentence"]
    assert failure["sentence"] in ended.err
    assert (failure["error"], failure["status"], failure["redrive"]) == ("BadInput", "FAILED", False)
    assert failure["what_to_do"] in ended.err
    assert (ended.record["status"], ended.record["products"]) == ("FAILED", [])
    assert ended.out.splitlines()[-1] == str(ended.folder / "run.json")
    events = ended.ledger
    assert next(iter(events)) == "received"
    assert list(events)[-2:] == ["failed-0", "notice-failed-0"]
    assert events["failed-0"]["sentence"] == failure["sentence"]
    assert events["failed-0"]["redrive"] is False
    assert failure["sentence"] in events["notice-failed-0"]["subject"]
    assert not list(ended.root.glob("results/*/*/*/*/classified"))


def skip_unless(true: object, reason: str) -> None:
    if not true:
        pytest.skip(reason)
