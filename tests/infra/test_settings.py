"""Deployments are frozen values; what cannot be is refused in a sentence."""

import dataclasses

import pytest

from infra.settings import UnknownSetting, load


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
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(name: str, overrides: str, sentence: str) -> None:
    with pytest.raises(UnknownSetting) as refusal:
        load(name, overrides)
    assert sentence in str(refusal.value)


def test_settings_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load("dev").gpu = True  # type: ignore[misc]
