"""A network in whole numbers: weights and what flows between layers as 8 bits, which a CPU multiplies several times as fast.

Each layer that is to be so gets its numbers through a pair of QuantizeLinear and DequantizeLinear, from which ONNX Runtime
makes layers of integers (Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
inference", 2018). Weights have a scale for each channel; what flows has one for each tensor, from the range that it was seen to
have on pictures (`benchmarks.cctv.ranges`). Integers add up to the same sum in any order: what a network finds depends less on
the machine than before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from itertools import pairwise

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Ranges = Mapping[str, tuple[float, float]]
"""Tensor -> the least and the largest value that is told apart; beyond, values are clipped."""
INTEGER = ("Conv", "LeakyRelu", "Concat", "Add", "MaxPool", "Resize")
"""Operations that ONNX Runtime does on 8 bits."""
UNSCALED = ("MaxPool", "Resize")
"""What comes out of these has the scale of what goes in."""


def quantised(data: bytes, ranges: Ranges, exact: Collection[str] = ()) -> bytes:
    """The ONNX model with every operation of `INTEGER` on 8 bits, but for those whose output is in `exact`.

    `ranges` has every tensor that such an operation reads or writes, but for what comes out of one of `UNSCALED`; KeyError
    names one that it has not.
    """
    return _Quantiser(onnx.load_model_from_string(data), ranges, set(exact)).made()


def scale_of(least: float, largest: float) -> tuple[np.float32, np.uint8]:
    """Scale and zero of unsigned 8 bits for values of this range; 0 is always one of the values.

    >>> scale_of(-1.0, 4.1)
    (np.float32(0.02), np.uint8(50))
    """
    least, largest = min(least, 0.0), max(largest, 0.0)
    scale = np.float32((largest - least) / 255) or np.float32(1)
    return scale, np.uint8(np.clip(np.rint(-least / scale), 0, 255))


class _Quantiser:
    def __init__(self, model: onnx.ModelProto, ranges: Ranges, exact: set[str]) -> None:
        self._model, self._ranges, self._exact = model, ranges, exact
        self._weights = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
        self._scale: dict[str, str] = {}
        """Tensor -> the tensor of whose scale it is."""
        self._read: dict[str, str] = {}
        """Tensor -> where its values are read, rounded."""
        self._nodes: list[onnx.NodeProto] = []
        self._made: dict[str, NDArray[np.generic]] = {}

    def made(self) -> bytes:
        graph = self._model.graph
        _pool_first(graph)
        for node in graph.node:
            self._add(node)
        used = {name for node in self._nodes for name in node.input}
        kept = {**self._weights, **self._made}
        del graph.node[:], graph.initializer[:]
        graph.node.extend(self._nodes)
        graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in kept.items() if name in used)
        onnx.checker.check_model(self._model)
        return bytes(self._model.SerializeToString(deterministic=True))

    def _add(self, node: onnx.NodeProto) -> None:
        (output, *_) = node.output
        if node.op_type not in INTEGER or output in self._exact:
            node.input[:] = [self._read.get(name, name) for name in node.input]
            self._nodes.append(node)
            return
        given = [name for name in node.input if name and name not in self._weights]
        rounded = [self._rounded(name) for name in given]
        if node.op_type in UNSCALED:
            self._scale[output] = self._scale[given[0]]
        constants = self._convolution(node, given[0]) if node.op_type == "Conv" else list(node.input[len(given) :])
        node.input[:] = [*rounded, *constants]
        self._nodes.append(node)
        self._rounded(output)

    def _rounded(self, name: str) -> str:
        """The tensor's values after they went through 8 bits."""
        if name not in self._read:
            scale, zero = self._scaling(self._scale.setdefault(name, name))
            self._nodes += [
                helper.make_node("QuantizeLinear", [name, scale, zero], [f"{name}/8"], f"{name}/to8"),
                helper.make_node("DequantizeLinear", [f"{name}/8", scale, zero], [f"{name}/of8"], f"{name}/from8"),
            ]
            self._read[name] = f"{name}/of8"
        return self._read[name]

    def _scaling(self, owner: str) -> tuple[str, str]:
        self._made[f"{owner}/scale"], self._made[f"{owner}/zero"] = map(np.asarray, scale_of(*self._ranges[owner]))
        return f"{owner}/scale", f"{owner}/zero"

    def _convolution(self, node: onnx.NodeProto, given: str) -> list[str]:
        """Its weights and bias as integers."""
        name, weights, bias = node.name, self._weights[node.input[1]], self._weights[node.input[2]]
        largest = np.abs(weights).reshape(len(weights), -1).max(1)
        scale = np.where(largest > 0, largest / 127, 1).astype(np.float32)
        rounded = np.rint(weights / scale.reshape(-1, *[1] * (weights.ndim - 1))).astype(np.int8)
        step = (scale * scale_of(*self._ranges[self._scale[given]])[0]).astype(np.float32)
        whole = np.clip(np.rint(bias / step.astype(np.float64)), -(2**31), 2**31 - 1).astype(np.int32)
        found = []
        for what, values, steps in (("weights", rounded, scale), ("bias", whole, step)):
            self._made[f"{name}/{what}"], self._made[f"{name}/{what}/scale"] = values, steps
            self._made[f"{name}/{what}/zero"] = np.zeros(len(steps), values.dtype)
            parts = [f"{name}/{what}", f"{name}/{what}/scale", f"{name}/{what}/zero"]
            self._nodes.append(
                helper.make_node("DequantizeLinear", parts, [f"{name}/{what}/of8"], f"{name}/{what}/from8", axis=0)
            )
            found.append(f"{name}/{what}/of8")
        return found


def _pool_first(graph: onnx.GraphProto) -> None:
    """A maximum and a rising function may change places: ONNX Runtime would pull what rounds before a maximum of floats."""
    nodes = list(graph.node)
    readers = Counter(name for node in nodes for name in node.input)
    for rising, pool in pairwise(graph.node):
        between = rising.output[0]
        if (rising.op_type, pool.op_type) == ("LeakyRelu", "MaxPool") and pool.input[0] == between and readers[between] == 1:
            pool.input[0], rising.input[0] = rising.input[0], between
            rising.output[0], pool.output[0] = pool.output[0], between
            place = nodes.index(rising)
            nodes[place : place + 2] = pool, rising
    del graph.node[:]
    graph.node.extend(nodes)


def observed(data: bytes) -> bytes:
    """The model with everything that flows in it as outputs besides, so that ranges can be seen."""
    model = onnx.load_model_from_string(data)
    known = {one.name for one in model.graph.output}
    names = [name for node in model.graph.node for name in node.output if name not in known]
    model.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names)
    return bytes(model.SerializeToString())
