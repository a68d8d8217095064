"""One synthesis of each deployment for all tests: a synthesis takes seconds. Nothing here needs a network but `npm ci`."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.infra.recorded import RecordedRun, record

os.environ.setdefault("JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION", "20")
os.environ.setdefault("CDK_DISABLE_CLI_TELEMETRY", "true")

ROOT = Path(__file__).resolve().parents[2]
BIGGEST = {"gpu": True, "gpu_large": True, "lambda_mib": 3008}
"""prod with every lane, and with functions as small as a new account may have."""


@dataclass(frozen=True)
class Synthesis:
    """A cloud assembly: `folder` holds templates and assets; `error` says why it failed validation, if it did."""

    folder: Path
    prefix: str
    error: str

    @property
    def stacks(self) -> list[str]:
        return [f"{self.prefix}-data", f"{self.prefix}-app"]

    @property
    def templates(self) -> list[Path]:
        return [self.folder / f"{stack}.template.json" for stack in self.stacks]

    def findings(self) -> set[tuple[str, str]]:
        """(construct path below the app stack, rule) of each cdk-nag finding of a failed synthesis."""
        report = json.loads((self.folder / "validation-report.json").read_text())
        return {
            (place["constructPath"].removeprefix(f"{self.prefix}-app/"), violation["ruleName"])
            for plugin in report["pluginReports"]
            for violation in plugin["violations"]
            for place in violation["violatingConstructs"]
        }


def synthesize(folder: Path, name: str, overrides: dict[str, Any], *, accept: bool = True) -> Synthesis:
    """Synthesize as the CDK command line would, which alone hands cdk.json's context to the app; layers are not built."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed; the CDK needs it")
    import aws_cdk as cdk

    from infra.app import build
    from infra.settings import load

    context = json.loads((ROOT / "cdk.json").read_text())["context"]
    app = cdk.App(context={**context, "aws:cdk:bundling-stacks": []}, outdir=str(folder))
    settings = load(name, overrides)
    build(app, settings, accept=accept)
    error = ""
    try:
        app.synth()
    except RuntimeError as failure:
        error = str(failure)
    return Synthesis(folder, settings.prefix, error)


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    return synthesize(tmp_path_factory.mktemp("dev"), "dev", {})


@pytest.fixture(scope="session")
def prod(tmp_path_factory: pytest.TempPathFactory) -> Synthesis:
    return synthesize(tmp_path_factory.mktemp("prod"), "prod", BIGGEST)


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """The pinned Node packages; installed once."""
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed; the state machine checker and the IAM simulator need it")
    folder = ROOT / "node_modules"
    if not folder.is_dir():
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> RecordedRun:
    """One recorded run for all tests of the group `recorded`, which run in one process for that."""
    return record(tmp_path_factory.mktemp("recorded"))
