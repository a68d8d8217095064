"""Where work runs, and on what: a GPU only for what can compute on one, and never silently without."""

from __future__ import annotations

import pytest

from tilery import device, lanes, registry
from tilery.outcomes import BadInput

ALL = ["lambda", "fargate", "fargate-large", "gpu", "gpu-large"]


def test_a_workload_without_gpu_code_has_no_gpu_lane() -> None:
    assert lanes.usable(ALL, gpu=False) == ["lambda", "fargate", "fargate-large"]
    assert lanes.usable(ALL, gpu=True) == ALL


@pytest.mark.parametrize("workload", registry.WORKLOADS)
def test_a_workload_that_computes_on_a_gpu_has_requirements_for_its_cuda_image(workload: str) -> None:
    from tests.data import ROOT

    has = (ROOT / f"containers/{workload}/requirements-cuda.txt").exists()
    assert has == bool(registry.load(workload).gpu)


def test_a_gpu_that_is_asked_for_and_not_there_is_an_error_that_says_why() -> None:
    assert device.choose("auto", "") == device.Device("cpu", "nothing of this workload computes on a GPU")
    with pytest.raises(BadInput, match="nothing of this workload computes on a GPU"):
        device.choose("gpu", "")
    for library in ("cupy", "onnxruntime"):
        if problem := device.gpu_problem(library):
            with pytest.raises(BadInput, match="no usable GPU here"):
                device.choose("gpu", library)
            assert device.choose("auto", library) == device.Device("cpu", problem)


def test_a_whole_drop_must_fit_in_the_function_that_the_deployment_has(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new account may be held to functions of 3,008 MiB; what fits in ours of 8,192 then goes to Batch."""

    def lane() -> lanes.Choice:
        return lanes.choose("pointcloud", "auto", "auto", 1_000_000, 3000, ["lambda", "fargate"])

    assert lane().lane == "lambda"
    monkeypatch.setenv("TILERY_WHOLE_MIB", "3008")
    assert lane() == lanes.Choice("fargate", "one worker would need about 3000 MiB, more than 2256 MiB")
