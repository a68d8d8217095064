"""Deployments are frozen values; what cannot be is refused in a sentence."""

import dataclasses
import json

import pytest

from infra.bundling import ROOT
from infra.settings import RUN_DAYS, UnknownSetting, load

STATEMACHINES = ROOT / "statemachines"


def test_dev_deploys_the_cpu_and_point_clouds_only() -> None:
    dev = load("dev")
    assert dev.workloads == ("pointcloud",)
    assert dev.lanes == ("lambda", "fargate", "fargate-large")
    assert dev.network == "public"


def test_prod_keeps_its_data_and_has_gpus_on_request() -> None:
    assert load("prod").keep_data
    assert "gpu" not in load("prod").lanes
    assert load("prod", '{"gpu": true}').lanes[-1] == "gpu"


@pytest.mark.parametrize(
    ("name", "overrides", "sentence"),
    [
        ("production", "", "no deployment 'production'; choose one of: dev, prod"),
        ("dev", '{"gpus": true}', "no setting 'gpus': did you mean 'gpu'"),
        ("dev", '{"name": "x"}', "no setting 'name'"),
        ("dev", '{"gpu": 1}', "takes a value like false, got 1"),
        ("dev", '{"map_concurrency": "many"}', 'takes a value like 40, got "many"'),
        ("dev", "gpu", "is not JSON"),
        ("dev", "[]", "is not a JSON object"),
        ("dev", '{"workloads": ["pointclouds"]}', "no workload 'pointclouds'"),
        ("dev", '{"tenants": ["Acme!"]}', "tenant 'Acme!' must be"),
        ("dev", '{"network": "private"}', "network 'private' must be one of"),
        ("dev", '{"gpu_large": true}', "set gpu too"),
        ("dev", '{"images": {"pointcloud": "x"}}', "no image 'pointcloud'"),
        ("dev", '{"map_concurrency": 0}', "map_concurrency must be between 1 and 10000"),
        ("dev", '{"lambda_mib": 1024}', "lambda_mib must be between 3008 and 10240"),
        ("dev", '{"log_retention_days": 45}', "log_retention_days must be one of: 1, 3, 5"),
        ("dev", '{"work_expires_days": 3}', "at least 11: a run may take 10 days"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(name: str, overrides: str, sentence: str) -> None:
    with pytest.raises(UnknownSetting) as refusal:
        load(name, overrides)
    assert sentence in str(refusal.value)


def test_a_run_may_take_as_long_as_its_machine_lets_it() -> None:
    machine = json.loads((STATEMACHINES / "pipeline.asl.json").read_text())
    assert machine["TimeoutSeconds"] == RUN_DAYS * 86_400


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load("dev").gpu = True  # type: ignore[misc]
