"""Batches of pictures through the stages, by the library alone: index, names, folders, errors, tolerance."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cli import products as delivery
from tests import machine
from tests.toys import environment
from tilery import keys, manifest, publishing, registry, sizing, whole
from tilery.outcomes import BadInput, Outcome
from tilery.registry import EXTRA
from tilery.run import Record
from tilery.store import open_store
from tilery.store.port import Store
from tilery.workloads.images import index as index_of_lists
from tilery.workloads.images import lists, place

IMAGES = {EXTRA: json.dumps({"images": "tilery.workloads.images.workload:Images"})}
SPLIT = [["resize", "20x30"], ["split", True], ["blur", "gaussian"]]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with environment({**IMAGES, "TILERY_STORE": (tmp_path / "root").as_uri()}):
        registry.load.cache_clear()
        yield open_store("acme")


def picture(shade: int, kind: str = "PNG") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), (shade, 90, 200)).save(out, kind)
    return out.getvalue()


FILES = {
    "north/a.png": picture(1),
    "north/a.jpg": picture(2, "JPEG"),
    "south/a.png": picture(3),
    "a.png": picture(4),
    "south/deep/cut.png": picture(5)[:50],
    "notes.txt": b"these are no pixels",
}


def run(store: Store, files: dict[str, bytes], options: dict[str, Any], dataset: str = "set") -> tuple[Record, str]:
    for name, data in files.items():
        store.put(f"drop/acme/images/{dataset}/{name}", data)
    key = f"drop/acme/images/{dataset}/{keys.READY}"
    store.put(key, json.dumps({"options": options}).encode())
    entry = store.head(key)
    assert entry is not None
    run_id = manifest.receive(store, "drop", key, entry.version).run_id
    sizing.size(store, "acme", run_id)
    if options.get("lane") == "lambda":
        whole.whole(store, "acme", run_id)
    machine.every_stage(store, run_id)
    return publishing.publish(store, "acme", run_id), keys.result("acme", "images", dataset, run_id)


def index(store: Store, folder: str) -> dict[str, Any]:
    rows = json.loads(store.get(f"{folder}/index.json"))["rows"]
    return {row["source"]: row for row in rows}


def products(store: Store, folder: str) -> dict[str, bytes]:
    found = {entry.key.removeprefix(folder + "/"): store.get(entry.key) for entry in store.list(folder + "/")}
    return {name: data for name, data in found.items() if name not in ("run.json", "report.html")}


def test_every_source_is_a_row_and_folders_stay_apart(store: Store) -> None:
    record, folder = run(store, FILES, {"lane": "fargate", "operations": SPLIT})
    rows = index(store, folder)
    assert sorted(rows) == sorted(FILES)
    assert {name: row["code"] for name, row in rows.items() if row["status"] == "error"} == {
        "notes.txt": "not_a_picture",
        "south/deep/cut.png": "damaged",
    }
    assert [piece["path"] for piece in rows["north/a.png"]["pieces"]][:2] == [
        "pictures/north/a-png__1-1.jpg",
        "pictures/north/a-png__1-2.jpg",
    ]
    assert next(piece["path"] for piece in rows["a.png"]["pieces"]) == "pictures/a__1-1.jpg"
    made = {product.path: product for product in record.products if product.kind == "pictures"}
    assert len(made) == 16
    assert made["pictures/south/a__2-2.jpg"].source == "south/a.png"
    assert record.counts["errors"] == 2
    assert "2 of 6 pictures are errors (1 damaged, 1 not a picture)" in record.warnings[0]
    assert {product.kind for product in record.products} == {"pictures", "index", "contact_sheet", "report"}


def test_the_parquet_index_says_what_the_json_says(store: Store, tmp_path: Path) -> None:
    _, folder = run(store, FILES, {"lane": "fargate", "operations": SPLIT})
    store.download(f"{folder}/index.parquet", str(tmp_path / "index.parquet"))
    table = pq.read_table(tmp_path / "index.parquet").to_pylist()
    assert {row["source"]: row for row in table} == index(store, folder)
    assert [row["source"] for row in table] == sorted(FILES)


def test_lanes_and_lists_of_any_length_give_the_same_bytes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"operations": SPLIT}
    _, sharded = run(store, FILES, {"lane": "fargate", **options}, "sharded")
    first = products(store, sharded)
    for entry in list(store.list("work/acme/")):
        store.delete([entry.key])
    monkeypatch.setattr(lists, "PICTURES", 1)
    _, whole_ = run(store, FILES, {"lane": "lambda", **options}, "whole")
    assert products(store, whole_) == first


def test_a_name_that_no_key_may_have_is_the_error_of_that_picture_alone(store: Store, tmp_path: Path) -> None:
    """They are laid down as a folder that is watched gets them, or S3: not by the store."""
    folder = tmp_path / "root/drop/acme/images/set"
    folder.mkdir(parents=True)
    for name in (b"two\nlines.png", b"back\\slash.png", b"latin-\xe4.png", b"long" + 240 * b"x" + b".png"):
        (folder / os.fsdecode(name)).write_bytes(picture(9))
    deep = folder / "/".join(["d" * 210] * 4)
    deep.mkdir(parents=True)
    (deep / "deep.png").write_bytes(picture(8))
    record, results = run(store, {"good.png": picture(1)}, {"lane": "lambda"})
    rows = index(store, results)
    bad = {name[:16]: row["reason"] for name, row in rows.items() if row["code"] == "bad_name"}
    assert bad == {
        "back\\\\slash.png": "its name has a control character or a backslash; rename it",
        "two\\x0alines.png": "its name has a control character or a backslash; rename it",
        "latin-\\udce4.png": "its name is not valid UTF-8; rename it",
        "dddddddddddddddd": "its name is longer than 850 bytes; shorten the name",
    }
    assert (rows["good.png"]["status"], len(rows)) == ("ok", 6)
    assert record.counts["errors"] == 4


def test_pieces_too_many_for_one_function_are_placed_by_many_and_are_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    alone, folder = run(store, FILES, {"lane": "fargate", "operations": SPLIT}, "alone")
    monkeypatch.setattr(place, "ALONE", 15)
    monkeypatch.setattr(place, "PIECES", 6)
    apart, other = run(store, FILES, {"lane": "lambda", "operations": SPLIT}, "apart")
    made = products(store, other)
    lists = [made.pop(listing.path) for listing in apart.listed]
    assert made == products(store, folder)
    assert [listing.count for listing in apart.listed] == [6, 6, 4]
    named = [json.loads(line) for data in lists for line in data.splitlines()]
    assert named == [product.model_dump() for product in alone.products if product.kind == "pictures"]
    assert [product.kind for product in apart.products] == [one.kind for one in alone.products if one.kind != "pictures"]
    ended = delivery.read(store, other)
    assert ended is not None
    delivery.deliver(store, other, ended, tmp_path / "out")
    assert {file.name for file in (tmp_path / "out/pictures").rglob("*.jpg")} == {Path(one["path"]).name for one in named}
    delivery.clear(tmp_path / "out")
    assert [file for file in (tmp_path / "out").rglob("*") if file.is_file()] == []


def test_the_rows_of_a_drop_are_the_same_however_many_are_gathered_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, folder = run(store, FILES, {"lane": "fargate", "sheet": 3}, "one")
    monkeypatch.setattr(index_of_lists, "ROWS", 2)
    _, again = run(store, {**FILES, "z.txt": b""}, {"lane": "fargate", "sheet": 3}, "more")
    rows, more = index(store, folder), index(store, again)
    assert more.pop("z.txt")["code"] == "empty"
    assert more == rows


def test_pieces_are_read_together_as_far_as_they_are_neighbours_and_small() -> None:
    sizes = [("a", 1), ("a", place.BATCH_BYTES - 1), ("a", 1), ("b", 1), ("b", place.BATCH_BYTES + 1), ("b", 2)]
    wanted = [("source", {"pack": pack, "bytes": size}) for pack, size in sizes]
    assert [[piece["bytes"] for _, piece in batch] for batch in place.batches(wanted)] == [
        [1, place.BATCH_BYTES - 1],
        [1],
        [1],
        [place.BATCH_BYTES + 1],
        [2],
    ]


def test_fail_on_error_fails_the_run_and_names_the_pictures(store: Store) -> None:
    with pytest.raises(BadInput, match=r"2 of 6 pictures failed, and fail_on_error is set: notes\.txt: it is not a picture"):
        run(store, FILES, {"lane": "fargate", "fail_on_error": True})


def test_the_sheet_can_change_without_a_picture_being_made_again(store: Store) -> None:
    run(store, FILES, {"lane": "fargate", "operations": SPLIT})
    made = [entry for entry in store.list("work/acme/process/") if "/done/" in entry.key]
    _, folder = run(store, FILES, {"lane": "fargate", "operations": SPLIT, "sheet": 2})
    assert [entry for entry in store.list("work/acme/process/") if "/done/" in entry.key] == made
    sheet = Image.open(io.BytesIO(store.get(f"{folder}/contact_sheet.jpg")))
    assert sheet.width > 100


def test_a_list_whose_worker_failed_is_a_hole_with_a_row_for_each_picture(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tilery.workloads.images.workload import Images

    whole_list = Images.process

    def broken(self: Images, work: Any, item: Any) -> dict[str, Any]:
        if item["id"] == "list-00001":
            raise Outcome("the disk is full")
        return whole_list(self, work, item)

    monkeypatch.setattr(lists, "PICTURES", 2)
    monkeypatch.setattr(Images, "process", broken)
    record, folder = run(store, FILES, {"lane": "fargate", "tolerate": 50})
    rows = index(store, folder)
    assert record.status == "PARTIAL"
    assert sorted(rows) == sorted(FILES)
    assert sum(row["code"] == "missing" for row in rows.values()) == 2


def test_no_operation_converts_and_keeps_the_pixels(store: Store) -> None:
    _, folder = run(store, {"a.png": picture(9)}, {"lane": "fargate", "output": "tiff"})
    made = np.asarray(Image.open(io.BytesIO(store.get(f"{folder}/pictures/a.tiff"))))
    assert (made == [9, 90, 200]).all()


def test_the_report_names_operations_folders_and_failures_and_escapes_names(store: Store) -> None:
    _, folder = run(store, {**FILES, "north/<b>.png": b"x"}, {"lane": "fargate", "operations": SPLIT})
    page = store.get(f"{folder}/report.html").decode()
    assert "width 20, height 30" in page
    assert "south/deep" in page
    assert "north/&lt;b&gt;.png" in page
    assert "<b>.png" not in page
