"""A network in whole numbers finds what it found before."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tilery.workloads.cctv.quantised import observed, quantised

RANDOM = np.random.default_rng(5)
Ranges = dict[str, tuple[float, float]]


def network() -> bytes:
    """Every operation that is done in integers, one after the other."""
    weights = {
        name: RANDOM.normal(0, 0.3, shape).astype(np.float32)
        for name, shape in {
            "w1": (8, 3, 3, 3),
            "b1": (8,),
            "w2": (8, 8, 3, 3),
            "b2": (8,),
            "w3": (4, 16, 1, 1),
            "b3": (4,),
        }.items()
    }
    weights["factors"] = np.array([1, 1, 2, 2], np.float32)
    around: dict[str, Any] = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Conv", ["pictures", "w1", "b1"], ["first"], "first", **around),
        helper.make_node("LeakyRelu", ["first"], ["active"], alpha=0.1),
        helper.make_node("MaxPool", ["active"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["pooled", "w2", "b2"], ["second"], "second", **around),
        helper.make_node("Resize", ["second", "", "factors"], ["large"], mode="linear"),
        helper.make_node("Resize", ["pooled", "", "factors"], ["also"], mode="linear"),
        helper.make_node("Add", ["large", "also"], ["sum"]),
        helper.make_node("Concat", ["sum", "large"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "w3", "b3"], ["score"], "third"),
    ]
    sides = [1, 3, None, None]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, sides)],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, [1, 4, None, None])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString())


def outputs(model: bytes, picture: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(names, {"pictures": picture}), strict=True))


def ranges(model: bytes, picture: NDArray[np.float32]) -> Ranges:
    seen = {"pictures": picture, **outputs(observed(model), picture)}
    return {name: (float(values.min()), float(values.max())) for name, values in seen.items()}


def test_integers_come_to_nearly_the_same_and_what_is_exact_stays_so() -> None:
    model, picture = network(), RANDOM.random((1, 3, 24, 32)).astype(np.float32)
    wanted = outputs(model, picture)["score"]
    known = ranges(model, picture)
    whole = quantised(model, known)
    assert abs(outputs(whole, picture)["score"] - wanted).max() < 0.03 * np.ptp(wanted)
    kinds = [node.op_type for node in onnx.load_model_from_string(whole).graph.node]
    assert kinds.count("QuantizeLinear") == 10
    assert kinds.index("MaxPool") < kinds.index("LeakyRelu")
    left = quantised(model, known, [name for node in onnx.load_model_from_string(model).graph.node for name in node.output])
    np.testing.assert_allclose(outputs(left, picture)["score"], wanted, atol=1e-5)
    assert quantised(model, known) == whole


def test_a_tensor_without_a_range_is_named() -> None:
    model, picture = network(), RANDOM.random((1, 3, 8, 8)).astype(np.float32)
    known = ranges(model, picture)
    del known["sum"]
    with pytest.raises(KeyError, match="sum"):
        quantised(model, known)
