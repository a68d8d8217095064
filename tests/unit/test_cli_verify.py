"""`tilery verify` says of two files whether anything but the classification differs, and what."""

import json
from pathlib import Path

import laspy
import pytest

from cli.main import invoke
from tests.data import autzen_trim


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real points as laspy writes them: it is laspy that writes the changed copies too."""
    path = tmp_path_factory.mktemp("las") / "original.laz"
    laspy.read(autzen_trim()).write(path)
    return path


def changed(original: Path, folder: Path, dimension: str) -> Path:
    """A copy whose first point has another value in one dimension."""
    las = laspy.read(original)
    las[dimension][0] = int(las[dimension][0]) ^ 1
    path = folder / "changed.laz"
    las.write(path)
    return path


def test_another_classification_is_no_difference(original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["verify", str(original), str(changed(original, tmp_path, "classification"))]) == 0
    assert "nothing but the classification" in capsys.readouterr().out


def test_another_intensity_of_one_point_is_found(original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["verify", str(original), str(changed(original, tmp_path, "intensity")), "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["equal"] is False
    assert "intensity" in " ".join(answer["differences"])


def test_a_missing_file_is_bad_input(original: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["verify", str(original), str(tmp_path / "none.laz")]) == 2
    assert "none.laz" in capsys.readouterr().err
