"""The one Dockerfile and what it starts."""

import json
import subprocess
import sys
from pathlib import Path

from tests.infra.conftest import ROOT
from tilery import names

DOCKERFILE = ROOT / "containers" / "Dockerfile"


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    ran = subprocess.run([str(hadolint), str(DOCKERFILE)], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_container_runs_what_the_twin_runs() -> None:
    (entry,) = [line for line in DOCKERFILE.read_text().splitlines() if line.startswith("ENTRYPOINT")]
    assert json.loads(entry.removeprefix("ENTRYPOINT ")) == names.JOB_COMMAND


def test_the_image_holds_all_that_the_docker_context_lets_through() -> None:
    let_through = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {line.split()[1].split("/")[0] for line in DOCKERFILE.read_text().splitlines() if line.startswith("COPY ")}
    assert {one for one in copied if not one.startswith("--from=")} == let_through


def test_neither_image_runs_as_root() -> None:
    stages = DOCKERFILE.read_text().split("\nFROM ")
    for target in ("cuda", "cpu"):
        (stage,) = [stage for stage in stages if stage.splitlines()[0].endswith(f" AS {target}")]
        users = [line for line in stage.splitlines() if line.startswith("USER ")]
        assert users[-1] == "USER 10001"
