"""Whole runs of the features workload through the stage loop, on small drawn pictures."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from tests.data import real
from tests.toys import environment
from tests.unit.features_run import WORKLOAD, run
from tilery import registry
from tilery.outcomes import BadInput, Outcome
from tilery.store import open_store
from tilery.store.port import Store
from tilery.workloads.features import lists
from tilery.workloads.features.decoding import Unreadable, square
from tilery.workloads.features.separation import figures
from tilery.workloads.features.workload import Features


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with environment({**WORKLOAD, "TILERY_STORE": (tmp_path / "root").as_uri()}):
        registry.load.cache_clear()
        yield open_store("acme")


def encoded(image: Image.Image, format: str = "PNG", **how: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **how)
    return buffer.getvalue()


def shape(kind: str, seed: int) -> bytes:
    """A 48 x 40 picture of one round or square thing, somewhere, in a colour of its kind."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", (48, 40), "white")
    x, y, r = (int(value) for value in rng.integers((10, 10, 6), (38, 30, 10)))
    colour = (int(rng.integers(150, 255)), 40, 40) if kind == "round" else (30, 60, int(rng.integers(150, 255)))
    draw = ImageDraw.Draw(image)
    (draw.ellipse if kind == "round" else draw.rectangle)((x - r, y - r, x + r, y + r), fill=colour)
    return encoded(image)


def drop(count: int) -> dict[str, bytes]:
    kinds = ("round", "square")
    return {f"{kinds[n % 2]}/{n:04d}.png": shape(kinds[n % 2], n) for n in range(count)}


def small_model(features: int = 7, size: Any = 16) -> bytes:
    """N x 3 x S x S -> random weights, ReLU, mean over the picture: a backbone of a millisecond."""
    weight = np.random.default_rng(1).normal(size=(features, 3, 5, 5)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[3, 3]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, size, size])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", features, 1, 1])]
    graph = helper.make_graph(nodes, "small", inputs, outputs, [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


SMALL = {"backbone": "small.onnx", "size_px": 16, "lane": "fargate"}


def test_labelled_pictures_become_a_dataset_a_model_plots_and_a_report(store: Store) -> None:
    result = run(store, drop(24), {"components": 5})
    assert result.record.status == "SUCCEEDED"
    assert [one.kind for one in result.record.products] == ["features", "model", "model", "plot", "plot", "report"]
    table = pq.read_table(io.BytesIO(result.get("features/part-00000.parquet")))
    assert str(table.schema.field("features").type) == "fixed_size_list<element: float>[1280]"
    assert str(table.schema.field("pca").type) == "fixed_size_list<element: float>[5]"
    features = np.array(table.column("features").to_pylist(), np.float64)
    whole = PCA(5, svd_solver="full").fit(StandardScaler().fit_transform(features))
    with np.load(io.BytesIO(result.get("model.npz"))) as model:
        np.testing.assert_allclose(model["explained_variance"], whole.explained_variance_, rtol=1e-10)
        scores = (features - model["mean"]) / model["scale"] @ model["components"].T
    np.testing.assert_allclose(np.array(table.column("pca").to_pylist()), scores, atol=1e-4)
    assert table.column("label").to_pylist() == ["round"] * 12 + ["square"] * 12
    said = json.loads(result.get("model.json"))
    assert said["backbone"]["sha256"] == table.column("model").to_pylist()[0]
    assert said["explained_variance"] == pytest.approx(list(whole.explained_variance_))
    report = result.get("report.html").decode()
    assert "Neighbours of the same label" in report
    assert report.count("data:image/png") == 2


def test_real_fruit_of_one_kind_lies_together(store: Store) -> None:
    folders = sorted(path for path in real("imagery/fruits").iterdir() if path.is_dir())[::4]
    files = {f"{path.parent.name}/{path.name}": path.read_bytes() for folder in folders for path in sorted(folder.iterdir())}
    result = run(store, files, {"components": 20})
    rows = result.rows()
    found = figures(np.array([row["pca"] for row in rows], np.float32), [row["label"] for row in rows])
    assert len(rows) == 80
    assert found is not None
    assert found.purity > 0.7 > 5 * found.chance


def test_any_lists_and_any_lane_give_the_same_bytes(store: Store) -> None:
    files = {**drop(300), "broken/a.png": b"no picture", "small.onnx": small_model()}
    found = [
        run(store, files, {**SMALL, "sample": 100, **options}, dataset).products()
        for dataset, options in (
            ("a", {"list_pictures": 64}),
            ("b", {"list_pictures": 128}),
            ("c", {"list_pictures": 4096, "lane": "lambda"}),
        )
    ]
    assert found[0] == found[1] == found[2]
    assert "model.npz" in found[0]


def test_a_large_drop_has_several_parts_with_every_picture_once_in_order(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "PART", 512)
    dot = encoded(Image.new("RGB", (2, 2), "red"))
    names = [f"{n:05d}.png" for n in range(560)]
    files = {name: dot if n % 7 else shape("round", n) for n, name in enumerate(names)}
    result = run(store, {**files, "small.onnx": small_model()}, {**SMALL, "sample": 100})
    assert [row["path"] for part in (0, 1) for row in result.rows(part)] == names
    assert result.record.counts["lists"] == 9
    assert {row["label"] for row in result.rows(1)} == {None}


def test_a_bad_picture_is_a_row_with_a_reason_and_the_others_are_done(store: Store) -> None:
    whole = shape("round", 1)
    files = {**drop(6), "a/text.jpg": b"hello", "b/cut.png": whole[: len(whole) // 2], "small.onnx": small_model()}
    big = io.BytesIO()
    Image.new("1", (9000, 9000)).save(big, "PNG")
    result = run(store, {**files, "c/big.png": big.getvalue(), "e.png": b""}, {**SMALL, "max_megapixels": 50})
    rows = {row["path"]: row for row in result.rows()}
    assert {path: row["error"] for path, row in rows.items() if row["status"] == "error"} == {
        "a/text.jpg": "not_a_picture",
        "b/cut.png": "damaged",
        "c/big.png": "too_large",
        "e.png": "empty",
    }
    assert rows["c/big.png"]["reason"] == "it is 9000 x 9000, more than 50 megapixels"
    assert rows["a/text.jpg"]["features"] is None
    assert rows["round/0000.png"]["features"] is not None
    assert rows["round/0000.png"]["pca"] is not None
    assert result.record.warnings == ["4 of 10 pictures gave no features: 1 damaged, 1 empty, 1 not a picture, 1 too large"]


def test_a_bad_picture_fails_the_run_if_asked(store: Store) -> None:
    files = {**drop(6), "a/text.jpg": b"hello", "small.onnx": small_model()}
    with pytest.raises(BadInput, match=r"a/text\.jpg: it is not a picture"):
        run(store, files, {**SMALL, "fail_on_error": True})


def test_a_drop_of_nothing_readable_is_bad_input(store: Store) -> None:
    with pytest.raises(BadInput, match=r"no picture of the drop could be read; the first is a\.png: it is not a picture"):
        run(store, {"a.png": b"x", "b.png": b"y", "small.onnx": small_model()}, SMALL)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_very_few_pictures_still_give_features(store: Store, count: int) -> None:
    result = run(store, {**drop(count), "small.onnx": small_model()}, SMALL)
    rows = result.rows()
    assert all(len(row["features"]) == 7 for row in rows)
    assert ("pca" in rows[0]) == (count > 1)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (b"junk", r"small\.onnx is not an ONNX file|small\.onnx is no ONNX model"),
        (small_model(size=32), r"takes pictures of 32 x 32; set size_px to that"),
        (small_model(features=5000), r"makes 5000 numbers of a picture; 1 to 4096"),
    ],
)
def test_a_backbone_that_cannot_be_used_is_bad_input(store: Store, model: bytes, sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        run(store, {**drop(2), "small.onnx": model}, SMALL)


def test_a_backbone_that_reads_other_files_is_refused(store: Store) -> None:
    model = onnx.load_model_from_string(small_model())
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(BadInput, match=r"small\.onnx keeps its weights in other files"):
        run(store, {**drop(2), "small.onnx": model.SerializeToString()}, SMALL)


def test_a_backbone_that_is_not_in_the_drop_is_named(store: Store) -> None:
    with pytest.raises(BadInput, match=r"backbone='mine\.onnx' is neither .* the drop has small\.onnx"):
        run(store, {**drop(2), "small.onnx": small_model()}, {**SMALL, "backbone": "mine.onnx"})


def test_new_components_do_not_embed_again(store: Store) -> None:
    files = {**drop(10), "small.onnx": small_model()}
    run(store, files, SMALL, "a")
    before = {entry.key for entry in store.list("work/acme/process/")}
    result = run(store, files, {**SMALL, "components": 3}, "b")
    assert {entry.key for entry in store.list("work/acme/process/")} == before
    assert len(result.rows()[0]["pca"]) == 3


def test_a_hole_in_a_partial_run_is_said_in_its_rows(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from tilery.workloads.features import process

    real = process.process

    def failing(work: Any, item: Any) -> dict[str, Any]:
        if item["start"] == 64:
            raise Outcome("the worker died")
        return real(work, item)

    monkeypatch.setattr(process, "process", failing)
    files = {**drop(150), "small.onnx": small_model()}
    result = run(store, files, {**SMALL, "list_pictures": 64, "tolerate": 50, "components": 2})
    assert result.record.status == "PARTIAL"
    rows = result.rows()
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    assert [n for n, row in enumerate(rows) if row["error"] == "not_processed"] == list(range(64, 128))


def test_the_sample_is_chosen_by_hash_so_more_pictures_do_not_reshuffle_it() -> None:
    names = [f"{n}.png" for n in range(1000)]
    few = {names[place] for place in lists.sample(names, 50)}
    more = {name for place, name in enumerate([*names, *(f"x{n}.png" for n in range(100))]) if place < 1100}
    ordered = sorted(more)
    again = {ordered[place] for place in lists.sample(ordered, 50)}
    assert len(few) == 50
    assert len(few & again) > 35
    assert {name for name in again if not name.startswith("x")} <= few


@pytest.mark.parametrize("given", [{"components": 0}, {"components": 1.5}, {"list_pictures": 100}, {"std": [0, 1, 1]}])
def test_options_that_make_no_sense_are_refused(store: Store, given: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=next(iter(given))):
        run(store, drop(1), given)


def test_pictures_are_upright_flattened_on_white_and_scaled_from_16_bits() -> None:
    left = Image.new("RGB", (40, 20), "white")
    left.paste("red", (0, 0, 20, 20))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned, width, height = square(encoded(left, "JPEG", exif=exif, quality=95), 16, "stretch", 10)
    assert (width, height) == (20, 40)
    assert turned[2, 8, 1] < 60 < 200 < turned[13, 8, 1]
    clear, *_ = square(encoded(Image.new("RGBA", (8, 8), (255, 0, 0, 0))), 16, "stretch", 10)
    assert clear.min() == 255
    deep, *_ = square(encoded(Image.fromarray(np.full((8, 8), 0x8080, np.uint16))), 16, "stretch", 10)
    assert set(np.unique(deep)) == {128}


def test_crop_and_pad_keep_the_shape_of_what_is_shown() -> None:
    wide = Image.new("RGB", (60, 20), "white")
    wide.paste("blue", (20, 0, 40, 20))
    cropped, *_ = square(encoded(wide), 20, "crop", 10)
    padded, *_ = square(encoded(wide), 30, "pad", 10)
    assert cropped[10, 10].tolist() == [0, 0, 255]
    assert (cropped[:, 2:18, 0] < 40).all()
    assert padded[2].min() == 255
    assert padded[15, 15].tolist() == [0, 0, 255]


def test_hostile_bytes_never_escape_as_another_error() -> None:
    whole = encoded(Image.effect_noise((30, 30), 80).convert("RGB"), "JPEG")
    for seed in range(60):
        data = bytearray(whole)
        for place in np.random.default_rng(seed).integers(0, len(data), 12):
            data[place] ^= 0xFF
        with suppress(Unreadable):
            pixels, *_ = square(bytes(data), 16, "stretch", 10)
            assert pixels.shape == (16, 16, 3)


def test_the_workload_and_its_options_import_no_heavy_library() -> None:
    heavy = "numpy, onnx, onnxruntime, PIL, pyarrow, sklearn"
    code = (
        "import sys, tilery.workloads.features.workload as w; w.Features();"
        f"sys.exit(','.join(n for n in '{heavy}'.split(', ') if n in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert Features.name == "features"
