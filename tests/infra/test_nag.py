"""cdk-nag's AwsSolutions rules: no finding without a reason, no reason without a finding."""

from pathlib import Path

import pytest

from infra.acknowledgements import accepted
from infra.settings import load
from tests.infra.conftest import BIGGEST, Synthesis, synthesize


def test_dev_synthesizes_without_an_unacknowledged_finding(dev: Synthesis) -> None:
    assert dev.error == ""


def test_prod_with_every_lane_synthesizes_without_an_unacknowledged_finding(prod: Synthesis) -> None:
    assert prod.error == ""


@pytest.mark.parametrize(("name", "overrides"), [("dev", {}), ("prod", BIGGEST)])
def test_every_acknowledgement_matches_a_finding(tmp_path: Path, name: str, overrides: dict[str, bool]) -> None:
    findings = synthesize(tmp_path, name, overrides, accept=False).findings()
    idle = [
        one
        for one in accepted(load(name, overrides))
        if not any(rule == one.rule and f"{path}/".startswith(f"{one.path}/") for path, rule in findings)
    ]
    assert idle == []


def test_every_acknowledgement_says_why() -> None:
    assert all(len(one.reason) > 15 for one in accepted(load("prod", BIGGEST)))
