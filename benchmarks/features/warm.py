"""Drops to a twin that is up (`tilery up`): what a run costs once the workers have started and loaded what they need."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measure import Cost

DEADLINE_S = 1800


class Up:
    """A running twin with a watched folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._log = root.with_suffix(".log")
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "up"], env={**os.environ, "TILERY_ROOT": str(root)}, stdout=log, stderr=log
            )
        _until(lambda: "Ctrl-C stops" in self._log.read_text())

    def drop(self, pictures: Path, name: str, options: dict[str, Any]) -> tuple[Cost, dict[str, Any]]:
        """The cost from `_READY.json` to the run's last product, and run.json. Names are new, so nothing is found done."""
        folder = self.root / "drop" / "local" / "features" / name
        for source in sorted(path for path in pictures.rglob("*") if path.is_file()):
            target = folder / source.parent.name / f"{name}-{source.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        results = self.root / "results" / "local" / "features" / name
        spent, begun = self._cpu(), time.perf_counter()
        (folder / "_READY.json").write_text(json.dumps({"options": options}))
        _until((results / "latest.json").exists)
        cost = Cost(time.perf_counter() - begun, self._cpu() - spent, 0.0, 0, "")
        (record,) = results.glob("*/run.json")
        return cost, json.loads(record.read_text())

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(60)

    def _cpu(self) -> float:
        """CPU-seconds of the twin and its workers, and of those that have ended."""
        total = 0.0
        me = psutil.Process(self._process.pid)
        for one in [me, *me.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                times = one.cpu_times()
                total += times.user + times.system + times.children_user + times.children_system
        return total


@contextmanager
def up(root: Path) -> Iterator[Up]:
    twin = Up(root)
    try:
        yield twin
    finally:
        twin.stop()


def _until(true: Any) -> None:
    end = time.monotonic() + DEADLINE_S
    while not true():
        if time.monotonic() > end:
            raise SystemExit("the twin does not answer; its log lies beside its folder")
        time.sleep(0.01)
