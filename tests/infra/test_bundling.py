"""What goes into the zips of the control functions."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra import bundling
from tilery import names

CONTROL = [kind.name for kind in names.FUNCTIONS.values() if kind.kind == "control"]


def test_the_digest_follows_content_and_facts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundling, "ROOT", tmp_path)
    file = tmp_path / "a.py"
    file.write_text("1")
    first = bundling.digest([file], "arm64")
    assert bundling.digest([file], "arm64") == first
    assert bundling.digest([file], "x86_64") != first
    file.write_text("2")
    assert bundling.digest([file], "arm64") != first


def test_sources_leave_out_what_is_not_source(tmp_path: Path) -> None:
    for name in ("a.py", "b.json", "notes.md", "__pycache__/c.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [file.name for file in bundling.sources(tmp_path)] == ["a.py", "b.json"]


def test_lambda_may_read_what_its_owner_alone_may_read_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundling, "ROOT", tmp_path / "from")
    file = tmp_path / "from" / "a.py"
    file.parent.mkdir()
    file.touch(mode=0o600)
    before = os.umask(0o077)
    try:
        bundling.copy([file], tmp_path / "to")
    finally:
        os.umask(before)
    assert (tmp_path / "to" / "a.py").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("function", CONTROL)
def test_a_control_function_imports_from_its_zip_and_the_library_layer_alone(function: str, tmp_path: Path) -> None:
    shared = [file for file in (bundling.ROOT / "functions").iterdir() if file.is_file()]
    bundling.copy(bundling.sources(bundling.ROOT / "functions" / function, *shared), tmp_path)
    bundling.copy(bundling.sources(bundling.ROOT / "tilery"), tmp_path)
    program = f"import functions.{function}.handler as it, tilery; print(it.__file__); print(tilery.__file__)"
    environment = {
        **os.environ,
        "PYTHONPATH": str(tmp_path),
        "POWERTOOLS_TRACE_DISABLED": "true",
        "AWS_DEFAULT_REGION": "eu-west-1",
    }
    ran = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert all(line.startswith(str(tmp_path)) for line in ran.stdout.split())


def test_the_layer_takes_wheels_up_to_the_c_library_of_lambda() -> None:
    assert {"manylinux2014_aarch64", "manylinux_2_24_aarch64", "manylinux_2_34_aarch64"} <= set(bundling.PLATFORMS)
    assert "manylinux_2_35_aarch64" not in bundling.PLATFORMS
