"""A network need not score the classes that nobody looks for: of its last convolution the channels that are wanted remain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnx

BY_CHANNEL = ("Identity", "Sigmoid", "Transpose")
"""What may stand between the last convolution and the output: nothing that mixes channels."""


def narrowed(data: bytes, outputs: Sequence[str], maps: int, count: int, wanted: Sequence[int]) -> bytes | None:
    """The ONNX model of whose `outputs` (by default all, in its order) the first `maps` have, of `count` classes, those of
    `wanted` alone, as they were before.

    None where the graph does not end in convolutions of so many channels, or in parts of them, with weights of their own.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = (model := onnx.load_model_from_string(data)).graph
    except DecodeError:
        return None
    names = list(outputs) or [one.name for one in graph.output]
    if not all(_narrow(graph, name, count, wanted) for name in names[:maps]):
        return None
    for known in (*graph.output, *graph.value_info):
        known.type.tensor_type.ClearField("shape")
    return bytes(model.SerializeToString())


def _narrow(graph: onnx.GraphProto, output: str, count: int, wanted: Sequence[int]) -> bool:
    """Take the other classes from the convolution behind an output; False, and nothing is changed, where that cannot be."""
    from onnx import numpy_helper

    makers = {name: node for node in graph.node for name in node.output}
    readers = [name for node in graph.node for name in node.input] + [one.name for one in graph.output]
    constants = {one.name: one for one in graph.initializer}
    name = output
    while (node := makers.get(name)) is not None and node.op_type in BY_CHANNEL and readers.count(name) == 1:
        name = node.input[0]
    sizes, before, total = None, 0, count
    if node is not None and node.op_type == "Split" and readers.count(name) == 1:
        sizes = constants.get(node.input[1]) if len(node.input) > 1 else None
        if sizes is None or readers.count(sizes.name) != 1 or [one.i for one in node.attribute if one.name == "axis"] != [1]:
            return False
        parts, place = numpy_helper.to_array(sizes).copy(), list(node.output).index(name)
        if parts[place] != count:
            return False
        before, total = int(parts[:place].sum()), int(parts.sum())
        parts[place] = len(wanted)
        node = makers.get(name := node.input[0])
    given = [constants.get(one) for one in node.input[1:]] if node is not None and node.op_type == "Conv" else []
    if not given or readers.count(name) != 1 or any(one is None or one.dims[0] != total for one in given):
        return False
    if any(one.name == "group" and one.i != 1 for one in (node.attribute if node else ())):
        return False
    if any(readers.count(one.name) != 1 for one in given if one is not None):
        return False
    kept = [*range(before), *(before + one for one in wanted), *range(before + count, total)]
    for one in given:
        if one is not None:
            one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one)[kept], one.name))
    if sizes is not None:
        sizes.CopyFrom(numpy_helper.from_array(np.asarray(parts), sizes.name))
    return True
