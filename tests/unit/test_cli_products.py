"""Products arrive whole, run.json last, and a folder never mixes two runs."""

import json
from pathlib import Path
from typing import Any

import pytest

from cli import products
from cli.run import listed
from tilery.outcomes import BadInput
from tilery.store.directory import DirectoryStore

FOLDER = "results/acme/sums/set/" + "a" * 64


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def publish(root: Path, files: dict[str, bytes], status: str = "SUCCEEDED") -> products.Ended:
    store = DirectoryStore(root)
    for path, data in files.items():
        store.put(f"{FOLDER}/{path}", data)
    listed = [{"kind": "sums", "path": path, "bytes": len(data)} for path, data in files.items()]
    store.put(f"{FOLDER}/run.json", json.dumps({"status": status, "products": listed}).encode())
    ended = products.read(store, FOLDER)
    assert ended is not None
    return ended


def deliver(root: Path, files: dict[str, bytes], out: Path) -> Path:
    return products.deliver(DirectoryStore(root), FOLDER, publish(root, files), out, root)


def test_products_are_links_that_take_no_space(root: Path, tmp_path: Path) -> None:
    path = deliver(root, {"sub folder/ä.laz": b"points"}, tmp_path / "out")

    assert path == tmp_path / "out" / "run.json"
    assert (tmp_path / "out" / "sub folder" / "ä.laz").stat().st_nlink == 2


def test_products_are_copied_where_there_is_no_folder_to_link_from(root: Path, tmp_path: Path) -> None:
    products.deliver(DirectoryStore(root), FOLDER, publish(root, {"a.laz": b"points"}), tmp_path / "out")

    assert (tmp_path / "out" / "a.laz").read_bytes() == b"points"
    assert (tmp_path / "out" / "a.laz").stat().st_nlink == 1


def test_a_second_run_takes_away_what_only_the_first_made(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    deliver(root, {"a.laz": b"1", "b.laz": b"1"}, out)
    (out / "mine.txt").write_text("keep")
    deliver(root, {"b.laz": b"2"}, out)

    assert sorted(path.name for path in out.iterdir()) == ["b.laz", "mine.txt", "run.json"]
    assert (out / "b.laz").read_bytes() == b"2"


def test_a_failed_run_leaves_no_products_of_the_one_before(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    deliver(root, {"a.laz": b"1"}, out)
    store = DirectoryStore(root)
    store.put(f"{FOLDER}/failure.json", json.dumps({"error": "BadInput", "sentence": "a.laz is cut short"}).encode())
    ended = publish(root, {}, "FAILED")
    products.deliver(store, FOLDER, ended, out, root)

    assert sorted(path.name for path in out.iterdir()) == ["failure.json", "run.json"]
    assert json.loads((out / "failure.json").read_text())["sentence"] == "a.laz is cut short"


def test_a_run_json_of_somebody_else_is_not_overwritten(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "run.json").write_text("[1, 2]")

    with pytest.raises(BadInput, match="choose another folder"):
        deliver(root, {"a.laz": b"1"}, out)
    assert (out / "run.json").read_text() == "[1, 2]"


@pytest.mark.parametrize("path", ["../escape", "/etc/escape", "a/../../escape"])
def test_a_record_that_points_outside_its_folder_is_refused(path: str, root: Path, tmp_path: Path) -> None:
    ended = products.Ended({"status": "SUCCEEDED", "products": [{"path": path}]}, None)

    with pytest.raises(BadInput, match="outside its folder"):
        products.deliver(DirectoryStore(root), FOLDER, ended, tmp_path / "out")


@pytest.mark.parametrize(
    ("status", "error", "code"),
    [("SUCCEEDED", "", 0), ("FAILED", "Incomplete", 1), ("FAILED", "BadInput", 2), ("PARTIAL", "", 3)],
)
def test_the_exit_code_says_how_it_ended(status: str, error: str, code: int) -> None:
    failure: dict[str, Any] | None = {"error": error} if error else None

    assert products.Ended({"status": status}, failure).exit_code == code


def test_a_run_that_goes_on_has_no_record(root: Path) -> None:
    root.mkdir()

    assert products.read(DirectoryStore(root), FOLDER) is None


def test_many_products_of_a_kind_are_one_line() -> None:
    made = [
        {"kind": "pictures", "path": f"pictures/{side}/a{number}.jpg", "bytes": 1000} for side in "ns" for number in range(9)
    ]
    lines = list(listed([*made, {"kind": "report", "path": "report.html", "bytes": 5}], Path("out")))
    assert [line.split() for line in lines] == [
        ["pictures", "18", "files", "below", "out/pictures", "18.0", "kB"],
        ["report", "out/report.html", "5", "B"],
    ]
