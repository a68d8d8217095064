"""The twin is killed with -9; nothing that it started may write afterwards.

A process of its own plays the twin: it runs a function and a job that write a line to a file again and again, each with a
child of its own that does the same.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.processes import alive

WRITES = """
import os, subprocess, sys, time
def work(folder, name):
    code = "from throwaway_writer import write; import sys; write(*sys.argv[1:])"
    child = subprocess.Popen([sys.executable, "-c", code, folder, name + "-child"])
    write(folder, name)
def write(folder, name):
    with open(os.path.join(folder, name + ".pid"), "w") as file:
        file.write(str(os.getpid()))
    while True:
        with open(os.path.join(folder, name + ".txt"), "a") as file:
            file.write("x")
        time.sleep(0.01)
def handler(event, context):
    work(event["folder"], "lambda")
"""

TWIN = """
import asyncio, os, sys
from pathlib import Path
from twin.jobs import JobDefinition, Jobs
from twin.lambdas import FunctionSpec, Lambdas
from twin.offspring import Guardian

async def main(folder):
    guardian = Guardian()
    print(guardian._process.pid, flush=True)
    logs = Path(folder, "logs")
    lambdas = Lambdas([FunctionSpec("writer", "throwaway_writer", 256, 60)], logs=logs, guardian=guardian)
    command = [sys.executable, "-c", "import sys; from throwaway_writer import work; work(*sys.argv[1:])"]
    jobs = Jobs([JobDefinition("pointcloud-fargate", command, dict(os.environ), 512, 1)], logs=logs, guardian=guardian)
    arguments = {"JobName": "job", "JobDefinition": "pointcloud-fargate", "ContainerOverrides": {"Command": [folder, "batch"]}}
    await asyncio.gather(lambdas.invoke("writer", {"folder": folder}), jobs.submit(arguments, "r1"))

asyncio.run(main(sys.argv[1]))
"""
WRITERS = ("lambda", "lambda-child", "batch", "batch-child")


@pytest.fixture
def twin(tmp_path: Path) -> "subprocess.Popen[str]":
    (tmp_path / "throwaway_writer.py").write_text(WRITES)
    path = os.pathsep.join([str(tmp_path), os.getcwd()])
    return subprocess.Popen(
        [sys.executable, "-c", TWIN, str(tmp_path)], env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
    )


def pids(folder: Path) -> list[int]:
    for _ in range(500):
        files = [folder / f"{name}.pid" for name in WRITERS]
        if all(file.exists() and re.fullmatch(r"\d+", file.read_text()) for file in files):
            return [int(file.read_text()) for file in files]
        time.sleep(0.02)
    raise AssertionError(f"only these started: {sorted(path.name for path in folder.glob('*.pid'))}")


def sizes(folder: Path) -> dict[str, int]:
    return {name: (folder / f"{name}.txt").stat().st_size for name in WRITERS}


def gone(processes: list[int]) -> bool:
    for _ in range(100):
        if not any(alive(pid) for pid in processes):
            return True
        time.sleep(0.02)
    return False


def test_nothing_writes_after_the_twin_was_killed(twin: "subprocess.Popen[str]", tmp_path: Path) -> None:
    assert twin.stdout is not None
    guardian = int(twin.stdout.readline())
    writers = pids(tmp_path)
    twin.send_signal(signal.SIGKILL)
    twin.wait()
    assert gone([*writers, guardian])
    before = sizes(tmp_path)
    time.sleep(0.3)
    assert sizes(tmp_path) == before


def test_direct_children_die_even_when_the_guardian_was_killed_first(twin: "subprocess.Popen[str]", tmp_path: Path) -> None:
    assert twin.stdout is not None
    guardian = int(twin.stdout.readline())
    writers = pids(tmp_path)
    os.kill(guardian, signal.SIGKILL)
    twin.send_signal(signal.SIGKILL)
    twin.wait()
    by_name = dict(zip(WRITERS, writers, strict=True))
    try:
        assert gone([by_name["lambda"], by_name["batch"]])
    finally:
        for pid in writers:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
