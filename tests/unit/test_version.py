"""A kept result is used again only while nothing that decides it has changed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tilery import version


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    kept = shutil.ignore_patterns("__pycache__")
    shutil.copytree(version.ROOT, tmp_path / "tilery", ignore=kept)
    (tmp_path / "packages" / "numpy-2.3.0.dist-info").mkdir(parents=True)
    monkeypatch.setattr(version, "ROOT", tmp_path / "tilery")
    monkeypatch.setattr(version, "PACKAGES", tmp_path / "packages")
    yield tmp_path
    version.code_digest.cache_clear()


def digest(workload: str = "pointcloud") -> str:
    version.code_digest.cache_clear()
    return version.code_digest(workload)


@pytest.mark.parametrize("name", ["ground.py", "learned_ign.onnx", "learned_ign.npz"])
def test_code_and_weights_of_a_workload_decide_its_results(copy: Path, name: str) -> None:
    before = {workload: digest(workload) for workload in ("pointcloud", "trend")}
    with (copy / "tilery" / "workloads" / "pointcloud" / name).open("ab") as file:
        file.write(b"\n")
    assert digest("pointcloud") != before["pointcloud"]
    assert digest("trend") == before["trend"]


def test_another_version_of_a_package_may_give_other_results(copy: Path) -> None:
    before = digest()
    (copy / "packages" / "numpy-2.3.0.dist-info").rename(copy / "packages" / "numpy-2.4.0.dist-info")
    assert digest() != before


def test_measured_rates_decide_no_result(copy: Path) -> None:
    before = digest()
    (copy / "tilery" / "workloads" / "pointcloud" / "rates.json").write_text("{}")
    assert digest() == before
