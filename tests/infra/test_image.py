"""The image without Docker: its pinned requirements in an empty environment, and only the folders that it copies."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.data import autzen_trim
from tests.infra.conftest import ROOT
from tilery import keys, manifest, names, registry, sizing, stages, worker
from tilery.outcomes import BadInput
from tilery.store.directory import DirectoryStore

pytestmark = pytest.mark.timeout(600)

OFFLINE = ("NewConnectionError", "name resolution", "Max retries exceeded", "ProxyError", "ConnectTimeout")
PYTHON, GLIBC = "3.13", 36
"""Of the Dockerfile's base image, Debian bookworm."""
DATA_FUNCTIONS = [function.name for function in names.FUNCTIONS.values() if function.kind == "data"]
CALL = """
import importlib, json, sys
from types import SimpleNamespace
given = json.load(sys.stdin)
answers = {}
for function in given["functions"]:
    module = importlib.import_module(f"functions.{function}.handler")
    context = SimpleNamespace(function_name=function, memory_limit_in_mb=8192, invoked_function_arn="arn", aws_request_id="1")
    if function in given["events"]:
        answers[function] = module.handler(given["events"][function], context)
import awslambdaric.__main__
print(json.dumps({"answers": answers, "modules": sorted({name.partition(".")[0] for name in sys.modules})}))
"""


@dataclass(frozen=True)
class Image:
    """`python` of the environment; `app` holds what the Dockerfile copies; `root` is the store."""

    python: Path
    app: Path
    root: Path

    @property
    def store(self) -> DirectoryStore:
        return DirectoryStore(self.root)

    def run(self, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
        """Run the image's Python as the container would, with nothing of this machine's environment."""
        environment = {
            "PATH": os.defpath,
            "HOME": str(self.root),
            "PYTHONPATH": str(self.app),
            "TILERY_STORE": self.root.as_uri(),
            "TILERY_WORKLOAD": "pointcloud",
            "TILERY_LANES": "lambda,fargate",
            "POWERTOOLS_TRACE_DISABLED": "true",
        }
        return subprocess.run(
            [str(self.python), *arguments], cwd=self.app, env=environment, input=given, capture_output=True, text=True
        )


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    folder = tmp_path_factory.mktemp("image")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    lists = ["-r", str(ROOT / "containers/requirements.txt"), "-r", str(ROOT / "containers/pointcloud/requirements.txt")]
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile", "--only-binary=:all:"]
    ran = subprocess.run([*pip, *lists], capture_output=True, text=True)
    if ran.returncode and any(sign in ran.stderr for sign in OFFLINE):
        pytest.skip("the package index cannot be reached, so the image's requirements cannot be installed")
    assert ran.returncode == 0, ran.stderr
    for copied in copied_folders():
        shutil.copytree(ROOT / copied, folder / "app" / copied, ignore=shutil.ignore_patterns("__pycache__"))
    return Image(python, folder / "app", folder / "root")


def copied_folders() -> list[str]:
    """The folders of ours in the image, from the Dockerfile's last stages."""
    lines = (ROOT / "containers" / "Dockerfile").read_text().partition("AS base")[2].splitlines()
    return [line.split()[1] for line in lines if line.startswith("COPY ") and "--from" not in line]


def receive(store: DirectoryStore, options: dict[str, object]) -> str:
    """A dataset with the sample has arrived; returns the run's id."""
    lane = str(options["lane"])
    folder = f"drop/acme/pointcloud/{lane}"
    store.put(f"{folder}/a.laz", autzen_trim().read_bytes())
    store.put(f"{folder}/{keys.READY}", json.dumps({"options": options}).encode())
    entry = store.head(f"{folder}/{keys.READY}")
    assert entry is not None
    return manifest.receive(store, "drop", f"{folder}/{keys.READY}", entry.version).run_id


def test_the_environment_holds_only_pinned_packages(image: Image) -> None:
    ran = image.run("-m", "pip", "freeze", "--disable-pip-version-check")
    pins = {normal(line) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    installed = {normal(line) for line in ran.stdout.splitlines()}
    assert installed
    assert installed <= pins


def normal(requirement: str) -> str:
    name, _, version = requirement.partition("==")
    return f"{re.sub('[-_.]+', '-', name).lower()}=={version}"


def test_the_entry_point_does_the_packed_jobs_of_every_stage(image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans are made here, as the slim control functions make them; every job is done by the image."""
    monkeypatch.setenv("TILERY_LANES", "lambda,fargate")
    store = image.store
    run_id = receive(store, {"lane": "fargate", "tile_area_km2": 0.2, "shard_mib": 0.2})
    run = sizing.size(store, "acme", run_id)
    done = []
    while (plan := stages.plan(store, run, worker.planning_work)).stage != "publish":
        for job in stages.read_lines(store, plan.jobs):
            ran = image.run(*names.JOB_COMMAND[1:], "acme", run_id, plan.stage, job["key"])
            assert ran.returncode == 0, ran.stdout + ran.stderr
        assert stages.check(store, run, plan.stage, plan.round, False) is None
        done.append(plan.stage)
    assert done == ["tile", "process", "merge", "finish"]


def test_the_entry_point_ends_with_the_code_of_its_failure(image: Image) -> None:
    ran = image.run(*names.JOB_COMMAND[1:], "acme")
    assert (ran.returncode, "usage" in ran.stderr) == (BadInput.exit_code, True)


def test_the_data_functions_work_and_need_nothing_else(image: Image) -> None:
    """size, whole and publish do a small drop; every handler, and the Lambda runtime's own module, can be imported."""
    run_id = receive(image.store, {"lane": "lambda"})
    event = {"schema": 1, "tenant": "acme", "run_id": run_id}
    given = {"functions": DATA_FUNCTIONS, "events": dict.fromkeys(("size", "whole", "publish"), event)}
    ran = image.run("-c", CALL, given=json.dumps(given))
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout.splitlines()[-1])
    assert said["answers"]["size"]["lane"] == "lambda"
    assert said["answers"]["publish"]["status"] == "SUCCEEDED"
    assert said["answers"]["publish"]["products"] >= 4
    assert not set(said["modules"]) & {"twin", "cli", "infra", "tests", "benchmarks", "pytest", "moto", "typer", "rich"}


def test_all_that_the_build_imports_is_there(image: Image) -> None:
    ran = image.run("-m", "containers.imports", "pointcloud")
    assert ran.returncode == 0, ran.stderr


@pytest.mark.long("it asks the package index for every wheel of eight images")
@pytest.mark.parametrize("target", ["requirements.txt", "requirements-cuda.txt"])
@pytest.mark.parametrize("workload", registry.WORKLOADS)
def test_every_image_can_be_installed_on_its_own_system(workload: str, target: str, tmp_path: Path) -> None:
    """Wheels for the Python, the processor and the C library of the Dockerfile's base, not for those of this machine."""
    requirements = ROOT / "containers" / workload / target
    if not requirements.exists():
        pytest.skip(f"{workload} computes on no GPU")
    lists = [ROOT / "containers/requirements.txt", requirements]
    tags = ["manylinux1_x86_64", "manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in range(5, GLIBC + 1))]
    platforms = [argument for tag in tags for argument in ("--platform", tag)]
    version = ["--python-version", PYTHON, "--implementation", "cp", "--only-binary=:all:", *platforms]
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--dry-run", "--ignore-installed"]
    command += [*version, "--target", str(tmp_path), *(argument for one in lists for argument in ("-r", str(one)))]
    ran = subprocess.run(command, capture_output=True, text=True)
    if ran.returncode and any(sign in ran.stderr for sign in OFFLINE):
        pytest.skip("the package index cannot be reached")
    assert ran.returncode == 0, ran.stderr


def test_a_module_of_ours_that_the_image_lacks_would_be_seen(image: Image) -> None:
    """The proof of the proof: the environment is really empty of the rest."""
    for module in ("twin", "cli", "infra", "pytest", "moto", "rich"):
        assert image.run("-c", f"import {module}").returncode == 1, module
