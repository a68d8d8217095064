"""docs/operations.md quotes numbers of the templates and settings; they are those."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from infra import storage
from infra.settings import DEPLOYMENTS
from tests.infra.conftest import ROOT, Synthesis
from tilery import watchdog

PAGE = (ROOT / "docs" / "operations.md").read_text()
HOURS = 730
ZONES = 2


def resources(synthesis: Synthesis, kind: str) -> list[dict[str, Any]]:
    every = [one for file in synthesis.templates for one in json.loads(file.read_text())["Resources"].values()]
    return [one["Properties"] for one in every if one["Type"] == kind]


def interface_endpoints(synthesis: Synthesis) -> int:
    return sum(one["VpcEndpointType"] == "Interface" for one in resources(synthesis, "AWS::EC2::VPCEndpoint"))


def test_the_price_of_endpoints_is_theirs(prod: Synthesis, tmp_path: Path) -> None:
    from tests.infra.conftest import synthesize

    without_gpu = interface_endpoints(synthesize(tmp_path, "prod", {}))
    for count in (without_gpu, interface_endpoints(prod)):
        assert re.search(rf"\| {count * ZONES * HOURS * 0.01:.2f} \| {count} endpoints in {ZONES} zones", PAGE)


def test_the_alarms_are_counted(dev: Synthesis) -> None:
    count = len(resources(dev, "AWS::CloudWatch::Alarm"))
    assert f"{count} alarms of 0.10" in PAGE
    assert f"**Alarms** ({count} with one workload)" in PAGE


@pytest.mark.parametrize("name", ["dev", "prod"])
def test_the_retentions_are_those_of_the_settings(name: str) -> None:
    settings, column = DEPLOYMENTS[name], 1 + list(DEPLOYMENTS).index(name)
    rows = {row.split("|")[1].strip(): row.split("|")[1 + column].strip() for row in PAGE.splitlines() if row.count("|") == 4}
    assert rows["logs of functions, jobs, state machines"] == f"{settings.log_retention_days} days"
    assert rows["intermediate files (work bucket)"] == f"{settings.work_expires_days} days"
    assert f"replaced versions {storage.PINNED_DAYS} days" in PAGE


def test_the_watchdogs_patience_is_its_own() -> None:
    assert f"over {watchdog.STUCK.seconds // 60} minutes" in PAGE
    assert f"up to {watchdog.LOOK_BACK.seconds // 3600} hours back" in PAGE
