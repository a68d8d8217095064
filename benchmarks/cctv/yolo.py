"""What looking at every frame costs with a detector of YOLOv8n's size: its layers, at 640 pixels, with weights of noise.

No registry that is reached here has its weights under a licence that can be used, and what a network costs does not depend on
them. The layers are those of yolov8.yaml at scale n (width 0.25, depth 0.33): 8.7 GFLOPs at 640 x 640, 3.2 million weights.
Decoding of boxes is left out, to its advantage.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

SIDE, CLASSES, REACH = 640, 80, 16


@dataclass
class _Net:
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: list[onnx.TensorProto] = field(default_factory=list)
    random: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))
    count: int = 0

    def put(self, op: str, given: list[str], outputs: int = 1, **attributes: object) -> list[str]:
        self.count += 1
        names = [f"t{self.count}.{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(op, given, names, **attributes))
        return names

    def constant(self, value: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(value, f"w{len(self.weights)}"))
        return self.weights[-1].name

    def conv(self, x: str, inner: int, outer: int, side: int = 1, stride: int = 1, *, plain: bool = False) -> str:
        scale = (2 / (inner * side * side)) ** 0.5
        kernel = self.constant(self.random.normal(0, scale, (outer, inner, side, side)).astype(np.float32))
        bias, pad = self.constant(np.zeros(outer, np.float32)), side // 2
        (y,) = self.put("Conv", [x, kernel, bias], kernel_shape=[side] * 2, strides=[stride] * 2, pads=[pad] * 4)
        if plain:
            return y
        (gate,) = self.put("Sigmoid", [y])
        return self.put("Mul", [y, gate])[0]

    def c2f(self, x: str, inner: int, outer: int, depth: int, *, short: bool) -> str:
        half = outer // 2
        parts = self.put("Split", [self.conv(x, inner, outer)], 2, axis=1, num_outputs=2)
        for _ in range(depth):
            y = self.conv(self.conv(parts[-1], half, half, 3), half, half, 3)
            parts += self.put("Add", [parts[-1], y]) if short else [y]
        (joined,) = self.put("Concat", parts, axis=1)
        return self.conv(joined, (2 + depth) * half, outer)

    def pooled(self, x: str, width: int) -> str:
        parts = [self.conv(x, width, width // 2)]
        for _ in range(3):
            parts += self.put("MaxPool", [parts[-1]], kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4)
        return self.conv(self.put("Concat", parts, axis=1)[0], 2 * width, width)

    def larger(self, x: str) -> str:
        factors = self.constant(np.array([1, 1, 2, 2], np.float32))
        return self.put("Resize", [x, "", factors], mode="nearest")[0]

    def head(self, x: str, width: int) -> list[str]:
        box = self.conv(self.conv(x, width, 4 * REACH, 3), 4 * REACH, 4 * REACH, 3)
        score = self.conv(self.conv(x, width, CLASSES, 3), CLASSES, CLASSES, 3)
        logits = self.conv(score, CLASSES, CLASSES, plain=True)
        return [self.conv(box, 4 * REACH, 4 * REACH, plain=True), *self.put("Sigmoid", [logits])]


def network() -> bytes:
    net = _Net()
    x = net.conv(net.conv("images", 3, 16, 3, 2), 16, 32, 3, 2)
    x = net.conv(net.c2f(x, 32, 32, 1, short=True), 32, 64, 3, 2)
    third = net.c2f(x, 64, 64, 2, short=True)
    fourth = net.c2f(net.conv(third, 64, 128, 3, 2), 128, 128, 2, short=True)
    fifth = net.pooled(net.c2f(net.conv(fourth, 128, 256, 3, 2), 256, 256, 1, short=True), 256)
    up = net.c2f(net.put("Concat", [net.larger(fifth), fourth], axis=1)[0], 384, 128, 1, short=False)
    small = net.c2f(net.put("Concat", [net.larger(up), third], axis=1)[0], 192, 64, 1, short=False)
    middle = net.c2f(net.put("Concat", [net.conv(small, 64, 64, 3, 2), up], axis=1)[0], 192, 128, 1, short=False)
    large = net.c2f(net.put("Concat", [net.conv(middle, 128, 128, 3, 2), fifth], axis=1)[0], 384, 256, 1, short=False)
    outputs = [name for one, width in ((small, 64), (middle, 128), (large, 256)) for name in net.head(one, width)]
    graph = helper.make_graph(
        net.nodes,
        "yolov8n",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        net.weights,
    )
    return bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString())


def cpu_s(looks: int = 20) -> float:
    """CPU-seconds of one look, on one thread: the middle of several."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(network(), options, providers=["CPUExecutionProvider"])
    picture = np.random.default_rng(1).random((1, 3, SIDE, SIDE)).astype(np.float32)
    spent = []
    for _ in range(looks):
        start = time.process_time()
        session.run(None, {"images": picture})
        spent.append(time.process_time() - start)
    return float(np.median(spent))
