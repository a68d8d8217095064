"""Detectors: what they find, how their outputs are read, and the models that users bring."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from benchmarks.cctv.segments import sized
from tests.data import real
from tests.unit.cctv_video import make
from tilery.outcomes import BadInput
from tilery.workload import Work
from tilery.workloads.cctv import detector_decoding as decoding
from tilery.workloads.cctv import detectors, nms, slices
from tilery.workloads.cctv.detector import Found
from tilery.workloads.cctv.detector_classes import narrowed
from tilery.workloads.cctv.detector_description import Decode, Description, Input, read
from tilery.workloads.cctv.detector_onnx import load, tensor
from tilery.workloads.cctv.labels import COCO, LABELS
from tilery.workloads.cctv.options import CctvOptions

Array = NDArray[np.float32]


@pytest.fixture(scope="module")
def people() -> list[NDArray[np.uint8]]:
    """Frames of PETS at 416 x 312."""
    video = cv2.VideoCapture(str(real("cctv/pets/vtest.avi")))
    frames = [video.read()[1] for _ in range(9)][::4]
    return [cv2.resize(frame, (416, 312), interpolation=cv2.INTER_AREA)[..., ::-1].copy() for frame in frames]


@pytest.fixture(scope="module")
def truth() -> Array:
    rows = np.loadtxt(real("cctv/pets/gt.txt"), delimiter=",")
    rows = rows[rows[:, 0] == 1][:, 2:6]
    return (np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:]], 1) * 416 / 768).astype(np.float32)


@pytest.mark.parametrize("name", ["nanodet", "nanodet8", "centernet"])
def test_the_embedded_detectors_find_the_people_of_a_real_frame(
    name: str, people: list[NDArray[np.uint8]], truth: Array
) -> None:
    detector = detectors._embedded(name, 416, (0,), "cpu", 1)
    assert detector.size(768, 576) == (416, 312)
    found = detector.detect(people[:1])[0]
    sure = found.take(found.score >= detector.score)
    table = nms.overlaps(truth, sure.box)
    assert (table.max(1) > 0.5).mean() >= 0.8
    assert (table.max(0) > 0.5).mean() >= 0.8
    assert set(found.label) == {LABELS.index("person")}
    assert (np.diff(found.score) <= 0).all()


@pytest.mark.parametrize("name", ["nanodet8", "centernet"])
def test_what_is_found_in_a_picture_does_not_depend_on_the_others(name: str, people: list[NDArray[np.uint8]]) -> None:
    detector = detectors._embedded(name, 416, (0,), "cpu", 2)
    alone = [detector.detect([one])[0] for one in people]
    for together, calls in ((4, 1), (1, 3)):
        many = dataclasses.replace(detector, together=together, calls=calls)
        for one, among in zip(alone, many.detect(people), strict=True):
            np.testing.assert_array_equal(one.box, among.box)
            np.testing.assert_array_equal(one.score, among.score)


@pytest.mark.parametrize(("name", "axis"), [("centernet", 3), ("nanodet8", 1)])
def test_scores_do_not_depend_on_classes_that_nobody_looks_for(name: str, axis: int, people: list[NDArray[np.uint8]]) -> None:
    every, some = (detectors._embedded(name, 416, tuple(classes), "cpu", 1) for classes in (range(80), (0, 2)))
    given = {"pictures": tensor(every.description.input, [people[0]], 1)}
    for whole, part in zip(*(one.session.run(None, given) for one in (every, some)), strict=True):
        if whole.shape[axis] == 80:
            assert part.shape[axis] == 2
            whole = whole.take([0, 2], axis)
        np.testing.assert_allclose(part, whole, atol=1e-6)
    assert set(some.detect([people[0]])[0].label) <= {0, 2}


def test_a_network_whose_last_step_mixes_classes_is_left_as_it_is() -> None:
    def model(*tail: Any) -> bytes:
        weights = numpy_helper.from_array(np.arange(12, dtype=np.float32).reshape(4, 3, 1, 1), "w")
        sizes = numpy_helper.from_array(np.array([1, 3]), "sizes")
        nodes = [helper.make_node("Conv", ["x", "w"], ["a"]), *tail]
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "score")]
        graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [weights, sizes])
        return bytes(helper.make_model(graph).SerializeToString())

    def kept(data: bytes | None) -> list[NDArray[Any]]:
        assert data is not None
        return [
            numpy_helper.to_array(one).reshape(-1, 3)[:, 0] for one in onnx.load_model_from_string(data).graph.initializer[:1]
        ]

    whole, part = (
        helper.make_node("Sigmoid", ["a"], ["score"]),
        helper.make_node("Split", ["a", "sizes"], ["b", "score"], axis=1),
    )
    np.testing.assert_array_equal(kept(narrowed(model(whole), ["score"], 1, 4, [3, 1])), [[9, 3]])
    np.testing.assert_array_equal(kept(narrowed(model(part), [], 1, 3, [2])), [[0, 9]])
    mixing = model(helper.make_node("Softmax", ["a"], ["score"], axis=1))
    shared = model(whole, helper.make_node("Neg", ["a"], ["other"]))
    across = model(helper.make_node("Split", ["a", "sizes"], ["b", "score"], axis=2))
    assert [narrowed(one, [], 1, 4, [1]) for one in (mixing, shared, across, b"no model")] == [None] * 4
    assert narrowed(model(whole), [], 1, 80, [1]) is None
    assert narrowed(model(part), [], 1, 4, [1]) is None


def test_small_and_large_frames_get_the_detector_for_them(tmp_path: Path) -> None:
    for width, name, size in ((640, "nanodet", (416, 312)), (1280, "nanodet8", (512, 384)), (320, "centernet", (320, 240))):
        folder = tmp_path / str(width)
        folder.mkdir()
        work, _ = sized(folder, [make(folder / "a.mp4", frames=2, size=(width, width * 3 // 4))])
        detector = detectors.detector_of(work)
        assert detector is not None
        assert detector.name == name
        assert detector.size(width, width * 3 // 4) == size


def test_nanodets_distances_are_means_of_their_distributions() -> None:
    how = Decode(kind="nanodet", strides=[8], reach=7)
    score, side = np.zeros((1, 2, 3, 4), np.float32), np.full((1, 32, 3, 4), -20, np.float32)
    score[0, 1, 2, 1] = 0.9
    for number, bins in enumerate((1, 2, 3, 4)):
        side[0, number * 8 + bins, 2, 1] = 20
    scores, boxes = decoding.nanodet([score, side], 0, how, np.array([0, 1]), (32, 24))
    assert scores.shape == (12, 2)
    assert scores[9, 1] == np.float32(0.9)
    np.testing.assert_allclose(boxes(np.array([9]))[0], [12 - 8, 20 - 16, 12 + 24, 20 + 32], atol=1e-3)


def test_yolox_boxes_are_offsets_from_their_cell_and_powers_of_the_stride() -> None:
    how = Decode(kind="yolox", strides=[8, 16])
    rows = np.zeros((1, 4 * 3 + 2 * 1, 7), np.float32)
    rows[0, 5] = [0.5, 0.25, np.log(2), np.log(3), 0.8, 0.1, 0.5]
    rows[0, 13] = [0, 0, 0, 0, 1, 0, 1]
    scores, boxes = decoding.yolox([rows], 0, how, np.array([1]), (32, 24))
    np.testing.assert_allclose(scores[[5, 13], 0], [0.4, 1])
    np.testing.assert_allclose(boxes(np.array([5, 13])), [[12 - 8, 10 - 12, 12 + 8, 10 + 12], [8, -8, 24, 8]], atol=1e-4)


def test_centernet_boxes_stand_at_peaks_of_the_heat() -> None:
    heat, side = np.zeros((1, 6, 8, 2), np.float32), np.zeros((1, 6, 8, 4), np.float32)
    heat[0, 2, 3] = [0, 0.7]
    heat[0, 2, 4] = [0, 0.6]
    side[0, 2, 3] = [4, 5, 6, 7]
    scores, boxes = decoding.centernet([heat, side], 0, Decode(kind="centernet", strides=[4]), np.array([0, 1]), (32, 24))
    assert np.flatnonzero(scores[:, 1]).tolist() == [2 * 8 + 3]
    np.testing.assert_allclose(boxes(np.array([19]))[0], [12 - 4, 8 - 5, 12 + 6, 8 + 7])


def test_detr_boxes_are_shares_of_the_picture_and_none_is_no_class() -> None:
    logits = np.array([[[5.0, 0, 0], [0, 0, 9]]], np.float32)
    shares = np.array([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]]], np.float32)
    how = Decode(kind="detr", logits=True)
    scores, boxes = decoding.detr([logits, shares], 0, how, np.array([0, 1]), (100, 50))
    assert scores[0, 0] > 0.98
    assert scores[1].max() < 0.01
    np.testing.assert_allclose(boxes(np.array([0]))[0], [40, 15, 60, 35], rtol=1e-5)


boxes_of = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(boxes_of, st.randoms(use_true_random=False))
def test_suppression_keeps_no_two_that_overlap_and_does_not_depend_on_the_order(given_: list[Any], random: Any) -> None:
    box = np.array([[x, y, x + w, y + h] for x, y, w, h in given_], np.float32).reshape(-1, 4)
    score = np.array([random.randint(1, 5) / 5 for _ in given_], np.float32)
    kept = nms.suppress(box, score, 0.5)
    table = nms.overlaps(box[kept], box[kept])
    assert (table[~np.eye(len(kept), dtype=bool)] <= 0.5).all()
    order = np.array(random.sample(range(len(box)), len(box)), int)
    again = nms.suppress(box[order], score[order], 0.5)
    np.testing.assert_array_equal(box[order][again], box[kept])
    gone = np.setdiff1d(np.arange(len(box)), kept)
    assert all((nms.overlaps(box[[one]], box[kept][score[kept] >= score[one]]) > 0.5).any() for one in gone)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4000), st.integers(1, 2200), st.sampled_from([320, 416, 512]))
def test_slices_cover_the_frame_and_neighbours_overlap(width: int, height: int, side: int) -> None:
    found = slices.windows(width, height, side, side)
    for length, starts, part in (
        (width, sorted({one.left for one in found}), found[0].width),
        (height, sorted({one.top for one in found}), found[0].height),
    ):
        assert starts[0] == 0
        assert starts[-1] + part == length
        assert all(after - before <= part * (1 - slices.OVERLAP) + 1 for before, after in pairwise(starts))


def test_a_thing_in_two_slices_is_found_once_and_whole() -> None:
    frame = 1000, 400
    left, right = slices.Window(0, 0, 400, 400), slices.Window(320, 0, 400, 400)

    def found(*boxes: tuple[float, ...], score: float) -> Found:
        return Found(np.zeros(len(boxes), np.uint8), np.full(len(boxes), score, np.float32), np.array(boxes, np.float32))

    in_left = slices.uncut(found((330, 10, 380, 90), (360, 200, 400, 300), (0, 0, 50, 50), score=0.8), left, *frame)
    assert in_left.box[:, 0].tolist() == [330, 0]
    in_right = slices.uncut(found((331, 11, 381, 91), (360, 200, 460, 300), score=0.7), right, *frame)
    both = slices.joined([in_left, in_right])
    assert both.box.tolist() == [[0, 0, 50, 50], [330, 10, 380, 90], [360, 200, 460, 300]]


def test_boxes_are_as_many_pixels_of_the_frame_as_the_picture_was_shrunk() -> None:
    one = Found(np.zeros(1, np.uint8), np.ones(1, np.float32), np.array([[1, 2, 3, 4]], np.float32))
    assert one.placed(10, 20, 2, 3).box.tolist() == [[12, 26, 16, 32]]


DESCRIBED: dict[str, Any] = {
    "input": {"width": 64, "height": 64, "divide": 255},
    "decode": {"kind": "yolox", "strides": [32]},
    "classes": ["van", None, "pedestrian"],
    "score": 0.3,
}


def bright(shape: tuple[Any, ...] = ("n", 3, 64, 64)) -> bytes:
    """A model of the YOLOX kind whose one sure box (a van) stands where the picture is bright, in cells of 32 pixels."""
    nodes = [
        helper.make_node("AveragePool", ["pictures"], ["cells"], kernel_shape=[32, 32], strides=[32, 32]),
        helper.make_node("ReduceMean", ["cells", "one"], ["light"], keepdims=1),
        helper.make_node("Concat", ["zero", "zero", "zero", "zero", "light", "light", "light", "zero"], ["map"], axis=1),
        helper.make_node("Mul", ["light", "none"], ["zero"]),
        helper.make_node("Reshape", ["map", "flat"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["out"], perm=[0, 2, 1]),
    ]
    nodes.sort(key=lambda node: ["cells", "light", "zero", "map", "rows", "out"].index(node.output[0]))
    constants = {"one": np.array([1]), "none": np.array(0, np.float32), "flat": np.array([0, 8, -1])}
    graph = helper.make_graph(
        nodes,
        "bright",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", None, 8])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def drop(folder: Path, model: bytes | None, described: Any, **options: Any) -> Work[CctvOptions]:
    """A drop with a small video, a model and its description."""
    files = [make(folder / "clip.mp4", frames=3)]
    if model is not None:
        (folder / "mine.onnx").write_bytes(model)
        files.append(folder / "mine.onnx")
    (folder / "mine.json").write_text(described if isinstance(described, str) else json.dumps(described))
    work, _ = sized(folder / "root", [*files, folder / "mine.json"], detector="mine.json", **options)
    return work


def test_a_users_model_finds_what_its_description_says(tmp_path: Path) -> None:
    detector = detectors.detector_of(drop(tmp_path, bright(), DESCRIBED))
    assert detector is not None
    assert detector.name == "mine.onnx"
    picture = np.zeros((*detector.size(96, 64)[::-1], 3), np.uint8)
    picture[:32, 32:] = 255
    (found,) = detector.detect([picture])
    assert [LABELS[label] for label in found.label] == ["car"]
    np.testing.assert_allclose(found.box[0], [16, 0, 48, 16])
    assert found.score[0] == pytest.approx(1)


def test_a_model_with_a_batch_of_its_own_is_given_that_many(tmp_path: Path) -> None:
    detector = load("fixed", bright((2, 3, 64, 64)), Description.model_validate(DESCRIBED), [2], "cpu", 1)
    pictures = [np.full((64, 64, 3), value, np.uint8) for value in (255, 0, 255)]
    assert [len(found) > 0 for found in detector.detect(pictures)] == [True, False, True]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"classes": ["dragon"]}, "mine.json does not describe a detector: it: .*'dragon' is no COCO class"),
        ({"decode": {"kind": "yolo99"}}, "decode.kind"),
        ({"decode": {"kind": "centernet"}}, "reads 2 outputs; name them of out"),
        ({"decode": {"kind": "yolox", "strides": [32], "outputs": ["boxes"]}}, "has no output boxes; its outputs are out"),
        ({"decode": {"kind": "yolox", "strides": [8]}}, "cannot be run as its description says"),
        ({"input": {"width": 96, "height": 96}}, "cannot be run as its description says"),
        ({"model": "other.onnx"}, "describes other.onnx, which the drop does not have"),
        ({"classes": ["cat"]}, "knows none of the classes"),
    ],
)
def test_a_description_that_does_not_fit_is_named(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        detectors.detector_of(drop(tmp_path, bright(), DESCRIBED | change))


def test_hostile_and_damaged_models_are_refused(tmp_path: Path) -> None:
    outside = onnx.load_from_string(bright())
    tensor = outside.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")
    future = onnx.load_from_string(bright())
    future.opset_import[0].version = 99
    for number, (model, told) in enumerate(
        [
            (outside.SerializeToString(), "keeps its weights in other files"),
            (b"no model", "is not an ONNX file, or it is damaged"),
            (future.SerializeToString(), "is no ONNX model that can be run here: .*[Oo]pset"),
        ]
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(BadInput, match=told):
            detectors.detector_of(drop(folder, model, DESCRIBED))
    with pytest.raises(BadInput, match=r"mine\.json is no JSON"):
        detectors.detector_of(drop(tmp_path, bright(), "{"))
    work, _ = sized(tmp_path / "none", [make(tmp_path / "b.mp4", frames=2)], detector="theirs.json")
    with pytest.raises(BadInput, match="the drop has no such file"):
        detectors.detector_of(work)


def test_a_description_may_be_as_short_as_this() -> None:
    short = {"input": {"width": 640, "height": 640}, "decode": {"kind": "detr"}, "classes": list(COCO)}
    assert read("short.json", json.dumps(short).encode()).input == Input(width=640, height=640)
