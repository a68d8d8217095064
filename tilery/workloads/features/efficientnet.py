"""EfficientNet-Lite0 as an ONNX graph: picture (N, 3, S, S) float32 -> features (N, 1280) after global average pooling.

MBConv blocks without squeeze-and-excitation, ReLU6, padding as TensorFlow's SAME; batch norms are folded into the
convolutions. Architecture: Tan & Le, EfficientNet (ICML 2019), and the "lite" variant of its reference implementation; names of
the weights: PyPI efficientnet-lite-pytorch 0.1.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

BLOCKS = ((1, 3, 1, 16), (2, 3, 2, 24), (2, 5, 2, 40), (3, 3, 2, 80), (3, 5, 1, 112), (4, 5, 2, 192), (1, 3, 1, 320))
"""(repeats, kernel, stride of the first, output channels); the first kind does not expand, the others six-fold."""
EPSILON = 1e-3
FEATURES = 1280
OPSET = 17
IR_VERSION = 9
MEAN = (127.0 / 255, 127.0 / 255, 127.0 / 255)
STD = (128.0 / 255, 128.0 / 255, 128.0 / 255)
"""What the weights were trained with: (x - 127) / 128 of 8-bit values (efficientnet_lite_builder.py, MEAN_RGB, STDDEV_RGB)."""


def graph(weights: Mapping[str, NDArray[Any]], size_px: int = 224) -> bytes:
    """The model as bytes: the same weights give the same bytes. Raises `KeyError` if a weight is missing."""
    return _Builder(weights, size_px).build()


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels before and after: the odd one goes after, as TensorFlow does.

    >>> same_padding(224, 3, 2), same_padding(112, 3, 1)
    ((0, 1), (1, 1))
    """
    whole = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return whole // 2, whole - whole // 2


class _Builder:
    def __init__(self, weights: Mapping[str, NDArray[Any]], size_px: int) -> None:
        self.weights = weights
        self.size = size_px
        self.input_size = size_px
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def build(self) -> bytes:
        self._constant("zero", np.float32(0))
        self._constant("six", np.float32(6))
        x = self._convolution("pixels", "_conv_stem", "_bn0", stride=2, relu=True)
        number, channels = 0, 32
        for kind, (repeats, _, stride, out) in enumerate(BLOCKS):
            for repeat in range(repeats):
                step = stride if repeat == 0 else 1
                x = self._block(x, f"_blocks.{number}.", step, expand=kind > 0, skip=step == 1 and channels == out)
                number, channels = number + 1, out
        x = self._convolution(x, "_conv_head", "_bn1", relu=True)
        self.nodes.append(helper.make_node("GlobalAveragePool", [x], ["pooled"], name="pool"))
        self.nodes.append(helper.make_node("Flatten", ["pooled"], ["features"], name="flatten"))
        side = self.input_size
        model = helper.make_model(
            helper.make_graph(
                self.nodes,
                "efficientnet-lite0",
                [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, side, side])],
                [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", FEATURES])],
                self.constants,
            ),
            producer_name="tilery",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))

    def _block(self, given: str, at: str, stride: int, *, expand: bool, skip: bool) -> str:
        x = self._convolution(given, at + "_expand_conv", at + "_bn0", relu=True) if expand else given
        x = self._convolution(x, at + "_depthwise_conv", at + "_bn1", stride=stride, relu=True, depthwise=True)
        x = self._convolution(x, at + "_project_conv", at + "_bn2")
        if not skip:
            return x
        self.nodes.append(helper.make_node("Add", [x, given], [at + "sum"], name=at + "sum"))
        return at + "sum"

    def _convolution(
        self, given: str, name: str, norm: str, *, stride: int = 1, relu: bool = False, depthwise: bool = False
    ) -> str:
        weight, bias = self._folded(name, norm)
        kernel = weight.shape[-1]
        before, after = same_padding(self.size, kernel, stride)
        self.size = -(-self.size // stride)
        self._constant(name + ".weight", weight)
        self._constant(name + ".bias", bias)
        self.nodes.append(
            helper.make_node(
                "Conv",
                [given, name + ".weight", name + ".bias"],
                [name],
                name=name,
                kernel_shape=[kernel, kernel],
                strides=[stride, stride],
                pads=[before, before, after, after],
                group=weight.shape[0] if depthwise else 1,
            )
        )
        if not relu:
            return name
        self.nodes.append(helper.make_node("Clip", [name, "zero", "six"], [name + ".relu6"], name=name + ".relu6"))
        return name + ".relu6"

    def _folded(self, name: str, norm: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Weight and bias of convolution and batch norm in one, computed in float64."""
        weight = self.weights[name + ".weight"].astype(np.float64)
        gain, shift, mean, variance = (
            self.weights[f"{norm}.{part}"].astype(np.float64) for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gain / np.sqrt(variance + EPSILON)
        return (weight * factor[:, None, None, None]).astype(np.float32), (shift - mean * factor).astype(np.float32)

    def _constant(self, name: str, value: NDArray[np.float32] | np.float32) -> None:
        self.constants.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
