"""TensorFlow.js graph models become ONNX: the few operations that the embedded detectors are made of, at any picture size.

A TF.js graph model is a JSON file (a TensorFlow GraphDef whose tensors are described in `weightsManifest`) and binary files
with the tensors, here halved to float16. Pictures are N x H x W x C in TensorFlow and N x C x H x W in ONNX: convolutions are
wrapped in transpositions, and pairs of these that cancel are left out. Sizes that the graph fixed (batch, height, width,
targets of a resize) are set free, as the networks are fully convolutional.
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tilery.outcomes import BadInput

Array = NDArray[Any]
TO_CHANNELS_FIRST, TO_CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
OPSET = 18
TYPES = {
    "float32": np.float32,
    "float16": np.float16,
    "int32": np.int32,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "bool": np.bool_,
}
BINARY: dict[str, tuple[str, Callable[[Array, Array], Array]]] = {
    "Mul": ("Mul", np.multiply),
    "Add": ("Add", np.add),
    "AddV2": ("Add", np.add),
    "Sub": ("Sub", np.subtract),
}
UNARY = {"Relu": "Relu", "Sigmoid": "Sigmoid"}
CONVOLUTIONS = ("Conv2D", "_FusedConv2D", "DepthwiseConv2dNative", "FusedDepthwiseConv2dNative")


def convert(model: Mapping[str, Any], weights: bytes, outputs: Mapping[str, str], shape: Sequence[int]) -> bytes:
    """An ONNX model with the input `pictures` and the given outputs (TF tensor -> new name).

    `shape` is the 4-d input that the graph was frozen with; batch, height and width become free. Raises `BadInput` naming an
    operation that is not known.
    """
    nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
    uses = Counter(_split(one)[1] for node in nodes.values() for one in _inputs(node))
    builder = _Builder(tensors(model["weightsManifest"], weights), uses)
    for name in _order(nodes, [_split(output)[0] for output in outputs]):
        builder.add(nodes[name])
    graph = builder.graph(outputs, shape)
    free = _free_sizes(graph, shape)
    onnx.checker.check_model(free, full_check=True)
    return bytes(free.SerializeToString(deterministic=True))


def tensors(manifest: Sequence[Mapping[str, Any]], data: bytes) -> dict[str, Array]:
    """The tensors of a weights manifest whose files, in order, hold `data`. Quantised ones are restored to float32."""
    found: dict[str, Array] = {}
    start = 0
    for entry in (entry for group in manifest for entry in group["weights"]):
        quantised = entry.get("quantization")
        stored = TYPES[(quantised or entry)["dtype"]]
        values: Array = np.frombuffer(data, stored, math.prod(entry["shape"]), start)
        start += values.nbytes
        if quantised and "scale" in quantised:
            values = values.astype(np.float32) * np.float32(quantised["scale"]) + np.float32(quantised["min"])
        found[entry["name"]] = values.astype(np.float32 if quantised else stored).reshape(entry["shape"])
    if start != len(data):
        raise BadInput(f"the weights of the TF.js model take {start} bytes, but there are {len(data)}")
    return found


def _split(name: str) -> tuple[str, str]:
    """`scope/op:1` -> the node and the tensor; the first tensor of a node bears the node's name."""
    node, _, number = name.partition(":")
    return node, node if number in ("", "0") else name


def _inputs(node: Mapping[str, Any]) -> list[str]:
    return [name for name in node.get("input", []) if not name.startswith("^")]


def _order(nodes: Mapping[str, Mapping[str, Any]], wanted: Sequence[str]) -> list[str]:
    """The nodes that `wanted` needs, each after those it reads."""
    order: dict[str, None] = {}
    stack = [(name, False) for name in reversed(wanted)]
    while stack:
        name, ready = stack.pop()
        if name in order:
            continue
        if ready:
            order[name] = None
            continue
        stack.append((name, True))
        stack += [(_split(one)[0], False) for one in _inputs(nodes[name])]
    return list(order)


def _attribute(node: Mapping[str, Any], name: str, otherwise: Any = None) -> Any:
    """The value of a GraphDef attribute as JSON holds it: text in base64, whole numbers as text."""
    value = node.get("attr", {}).get(name)
    if value is None:
        return otherwise
    if "list" in value:
        kinds = value["list"]
        return [int(one) for one in kinds.get("i", [])] or [base64.b64decode(one).decode() for one in kinds.get("s", [])]
    read: dict[str, Callable[[Any], Any]] = {"s": lambda text: base64.b64decode(text).decode(), "i": int, "f": float, "b": bool}
    kind = next(iter(value))
    return read[kind](value[kind])


@dataclass
class _Builder:
    constants: dict[str, Array]
    uses: Mapping[str, int]
    """How many nodes of the graph read a tensor."""
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: dict[str, Array] = field(default_factory=dict)
    renamed: dict[str, str] = field(default_factory=dict)
    transposed: dict[str, tuple[str, tuple[int, ...]]] = field(default_factory=dict)
    """Tensor -> what it is a transposition of, and how."""
    padded: dict[str, tuple[str, list[int]]] = field(default_factory=dict)
    """Tensor -> what it is with a margin around, and how wide: before each axis, then behind."""
    margin: dict[str, float] = field(default_factory=dict)
    """Tensor with a margin -> the value of that."""
    plain: dict[str, onnx.NodeProto] = field(default_factory=dict)
    """Output of a convolution without a bias -> the convolution."""

    def add(self, node: Mapping[str, Any]) -> None:
        op, name = node["op"], node["name"]
        inputs = [_split(one)[1] for one in _inputs(node)]
        if op == "Const":
            return
        if op == "Placeholder":
            self.renamed[name] = "pictures"
        elif op == "Identity":
            self.renamed[name] = self.tensor(inputs[0])
        elif op == "SparseToDense":
            self.constants[name] = _dense(*(self.constants[one] for one in inputs))
        elif op in BINARY and all(one in self.constants for one in inputs):
            self.constants[name] = BINARY[op][1](*(self.constants[one] for one in inputs))
        elif op in BINARY and self.bias(inputs, name):
            pass
        elif op in BINARY:
            self.emit(BINARY[op][0], inputs, [name])
        elif op in UNARY:
            self.emit(UNARY[op], inputs, [name])
        elif op == "LeakyRelu":
            self.emit("LeakyRelu", inputs, [name], alpha=_attribute(node, "alpha", 0.2))
        elif op == "Relu6":
            self.emit("Clip", [*inputs, self.number(0), self.number(6)], [name])
        elif op == "Mean":
            axes = self.constant(self.constants[inputs[1]].astype(np.int64).reshape(-1))
            self.emit("ReduceMean", [inputs[0], axes], [name], keepdims=int(_attribute(node, "keep_dims", False)))
        elif op == "ConcatV2":
            self.emit("Concat", inputs[:-1], [name], axis=int(self.constants[inputs[-1]]))
        elif op == "Transpose":
            self.transpose(inputs[0], tuple(int(axis) for axis in self.constants[inputs[1]]), name)
        elif op in ("Pad", "PadV2"):
            pads = self.constants[inputs[1]]
            self.padded[name] = inputs[0], [int(side) for side in pads.T.reshape(-1)]
            self.margin[name] = float(self.constants[inputs[2]].item()) if inputs[2:] else 0.0
            fill = [self.number(self.margin[name])] if inputs[2:] else []
            self.emit("Pad", [inputs[0], self.constant(pads.T.astype(np.int64).reshape(-1)), *fill], [name])
        elif op == "SplitV":
            sizes = self.constants[inputs[1]].astype(np.int64)
            names = [name, *(f"{name}:{number}" for number in range(1, len(sizes)))]
            self.emit("Split", [inputs[0], self.constant(sizes)], names, axis=int(self.constants[inputs[2]]))
        elif op in CONVOLUTIONS:
            self.convolution(node, inputs)
        elif op == "MaxPool":
            self.max_pool(node, inputs[0])
        elif op == "ResizeBilinear":
            self.resize(node, inputs)
        else:
            raise BadInput(f"the TF.js operation {op} ({name}) is not known to the converter")

    def convolution(self, node: Mapping[str, Any], inputs: list[str]) -> None:
        fused = _attribute(node, "fused_ops", [])
        if _attribute(node, "data_format", "NHWC") != "NHWC" or set(fused) - {"BiasAdd", "Relu", "Relu6"}:
            raise BadInput(f"the TF.js convolution {node['name']} is of a kind that the converter does not know: {fused}")
        kernel = self.constants[inputs[1]]
        depthwise = "Depthwise" in node["op"]
        height, width, channels, many = kernel.shape
        turned = (
            kernel.transpose(2, 3, 0, 1).reshape(channels * many, 1, height, width)
            if depthwise
            else kernel.transpose(3, 2, 0, 1)
        )
        bias = [self.constant(self.constants[inputs[2]])] if "BiasAdd" in fused else []
        name = f"{node['name']}/first"
        given = self.transpose(inputs[0], TO_CHANNELS_FIRST)
        given, padding = self.around(node, given, 0.0)
        self.emit(
            "Conv",
            [given, self.constant(turned), *bias],
            [name],
            kernel_shape=[height, width],
            strides=_attribute(node, "strides")[1:3],
            dilations=(_attribute(node, "dilations") or [1, 1, 1, 1])[1:3],
            group=channels if depthwise else 1,
            **padding,
        )
        if not fused:
            self.plain[name] = self.nodes[-1]
        if "Relu" in fused:
            self.emit("Relu", [name], [name := f"{name}/relu"])
        if "Relu6" in fused:
            self.emit("Clip", [name, self.number(0), self.number(6)], [name := f"{name}/relu6"])
        self.transpose(name, TO_CHANNELS_LAST, node["name"])

    def bias(self, inputs: list[str], name: str) -> bool:
        """Whether this adds a constant of each channel to a convolution, which is then a part of that."""
        source, axes = self.transposed.get(self.tensor(inputs[0]), ("", ()))
        value = self.constants.get(inputs[1])
        if source not in self.plain or axes != TO_CHANNELS_LAST or value is None or value.ndim != 1 or self.uses[inputs[0]] > 1:
            return False
        self.plain.pop(source).input.append(self.tensor(inputs[1]))
        self.renamed[name] = self.tensor(inputs[0])
        return True

    def max_pool(self, node: Mapping[str, Any], given: str) -> None:
        name = f"{node['name']}/first"
        sizes = {"kernel_shape": _attribute(node, "ksize")[1:3], "strides": _attribute(node, "strides")[1:3]}
        inner, padding = self.around(node, self.transpose(given, TO_CHANNELS_FIRST), -math.inf)
        self.emit("MaxPool", [inner], [name], **padding, **sizes)
        self.transpose(name, TO_CHANNELS_LAST, node["name"])

    def around(self, node: Mapping[str, Any], given: str, value: float) -> tuple[str, dict[str, Any]]:
        """What a window slides over, and how it does at the edges: a margin of this value becomes a part of the operation."""
        if _padding(node) == "VALID" and self.margin.get(given) == value:
            inner, wide = self.padded[given]
            if wide[:2] == wide[4:6] == [0, 0]:
                return inner, {"pads": [*wide[2:4], *wide[6:]]}
        return given, {"auto_pad": _padding(node)}

    def resize(self, node: Mapping[str, Any], inputs: list[str]) -> None:
        """To the sizes of the frozen graph; `_free_sizes` makes factors of them."""
        name = f"{node['name']}/first"
        mode = "half_pixel" if _attribute(node, "half_pixel_centers", False) else "asymmetric"
        if _attribute(node, "align_corners", False):
            mode = "align_corners"
        sizes = self.constant(np.concatenate([[1, 0], self.constants[inputs[1]]]).astype(np.int64))
        given = self.transpose(inputs[0], TO_CHANNELS_FIRST)
        self.emit("Resize", [given, "", "", sizes], [name], mode="linear", coordinate_transformation_mode=mode)
        self.transpose(name, TO_CHANNELS_LAST, node["name"])

    def transpose(self, given: str, axes: tuple[int, ...], name: str = "") -> str:
        """A transposed tensor, under `name` if given; of a transposition that it undoes, the tensor itself."""
        given = self.tensor(given)
        name = name or f"{given}/to{''.join(map(str, axes))}"
        source, before = self.transposed.get(given, ("", ()))
        if tuple(before[axis] for axis in axes) == tuple(range(len(axes))) if before else False:
            self.renamed[name] = source
            return source
        if name not in self.transposed:
            self.emit("Transpose", [given], [name], perm=axes)
            self.transposed[name] = given, axes
        return name

    def tensor(self, name: str) -> str:
        """The ONNX name of a tensor; a constant becomes an initializer by being read."""
        name = self.renamed.get(name, name)
        if name in self.constants:
            self.initializers.setdefault(name, self.constants[name])
        return name

    def constant(self, value: Array) -> str:
        name = f"constant{len(self.initializers)}"
        self.initializers[name] = np.ascontiguousarray(value)
        return name

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def emit(self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op, [self.tensor(one) for one in inputs], outputs, outputs[0], **attributes))

    def graph(self, outputs: Mapping[str, str], shape: Sequence[int]) -> onnx.ModelProto:
        for output, name in outputs.items():
            self.emit("Identity", [_split(output)[1]], [name])
        graph = helper.make_graph(
            self._needed(list(outputs.values())),
            "detector",
            [helper.make_tensor_value_info("pictures", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in outputs.values()],
            [numpy_helper.from_array(value, name) for name, value in self.initializers.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9, producer_name="tilery")

    def _needed(self, outputs: Sequence[str]) -> list[onnx.NodeProto]:
        """The nodes that the outputs need, in order: others were folded into their neighbours."""
        wanted, kept = set(outputs), []
        for node in reversed(self.nodes):
            if wanted & set(node.output):
                wanted |= set(node.input)
                kept.append(node)
        self.initializers = {name: value for name, value in self.initializers.items() if name in wanted}
        return kept[::-1]


def _dense(places: Array, shape: Array, values: Array, otherwise: Array) -> Array:
    dense = np.full(tuple(shape), otherwise, values.dtype)
    dense[tuple(np.atleast_2d(places.reshape(-1, len(dense.shape))).T)] = values
    return dense


def _padding(node: Mapping[str, Any]) -> str:
    return {"SAME": "SAME_UPPER", "VALID": "VALID"}[_attribute(node, "padding")]


def _free_sizes(model: onnx.ModelProto, shape: Sequence[int]) -> onnx.ModelProto:
    """Resizes to a size become resizes by a factor, and the input any number of pictures of any size."""
    channels = shape.index(3)
    # a resize to a size stops the inference of shapes at its placeholders; each pass gets behind one more
    known: dict[str, list[int]] = {}
    constants = {one.name: one for one in model.graph.initializer}
    for node in [node for node in model.graph.node if node.op_type == "Resize"]:
        inferred = onnx.shape_inference.infer_shapes(model)
        known = {
            value.name: [side.dim_value for side in value.type.tensor_type.shape.dim] for value in inferred.graph.value_info
        }
        given, target = known[node.input[0]], numpy_helper.to_array(constants[node.input[3]])
        factors = np.array([1, 1, target[2] / given[2], target[3] / given[3]], np.float32)
        name = f"{node.input[3]}/factors"
        model.graph.initializer.append(numpy_helper.from_array(factors, name))
        model.graph.initializer.remove(constants[node.input[3]])
        node.input[:] = [node.input[0], "", name]
    sides = model.graph.input[0].type.tensor_type.shape.dim
    for axis, free in enumerate(name for name in ("n", "h", "w")):
        sides[axis + (axis >= channels)].dim_param = free
    return model
