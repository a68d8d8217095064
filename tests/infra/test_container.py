"""The one Dockerfile and what it starts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from containers import imports
from tests.infra.conftest import ROOT
from tilery import names, registry

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


def test_what_root_made_while_building_stays_in_nobodys_way() -> None:
    """Caches below /tmp are folders of whoever comes first: later the worker could not write to them."""
    prepared = DOCKERFILE.read_text().partition(" AS prepared")[2].partition("\nFROM ")[0]
    assert prepared.rstrip().endswith("rm -rf /tmp/*")


def test_neither_image_runs_as_root() -> None:
    stages = DOCKERFILE.read_text().split("\nFROM ")
    for target in ("cuda", "cpu"):
        (stage,) = [stage for stage in stages if stage.splitlines()[0].endswith(f" AS {target}")]
        users = [line for line in stage.splitlines() if line.startswith("USER ")]
        assert users[-1] == "USER 10001"


@pytest.mark.parametrize("workload", registry.WORKLOADS)
def test_the_build_imports_all_of_a_workload(workload: str) -> None:
    """Here without the Lambda runtime, which only images hold: what the image's list leaves out could fail a run instead."""
    listed = set(imports.modules(workload))
    own = {path.with_suffix("").relative_to(ROOT) for path in (ROOT / "tilery/workloads" / workload).rglob("*.py")}
    assert {".".join(path.parts) for path in own if path.name not in ("__init__", "__main__")} <= listed
    assert {*registry.load(workload).needs, "functions.whole.handler", "awslambdaric"} <= listed


def test_the_build_fails_on_what_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "modules", lambda workload: ["tilery.names", "no_such_library"])
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        imports.main("pointcloud")
