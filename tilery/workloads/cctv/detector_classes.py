"""A network need not score the classes that nobody looks for: of its last convolution the channels that are wanted remain."""

from __future__ import annotations

from collections.abc import Sequence

BY_CHANNEL = ("Identity", "Sigmoid", "Transpose")
"""What may stand between the last convolution and the output: nothing that mixes channels."""


def narrowed(data: bytes, output: str, count: int, wanted: Sequence[int]) -> bytes | None:
    """The ONNX model whose `output`, of `count` classes, has those of `wanted` alone, as they were before.

    None where the graph does not end in a convolution of so many channels with weights of its own.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    try:
        graph = (model := onnx.load_model_from_string(data)).graph
    except DecodeError:
        return None
    makers = {name: node for node in graph.node for name in node.output}
    readers = [name for node in graph.node for name in node.input] + [one.name for one in graph.output]
    name = output
    while (node := makers.get(name)) is not None and node.op_type in BY_CHANNEL and readers.count(name) == 1:
        name = node.input[0]
    weights = {one.name: one for one in graph.initializer}
    given = [weights.get(one) for one in node.input[1:]] if node is not None and node.op_type == "Conv" else []
    if not given or readers.count(name) != 1 or any(one is None or one.dims[0] != count for one in given):
        return None
    if any(one.name == "group" and one.i != 1 for one in (node.attribute if node else ())):
        return None
    if any(readers.count(one.name) != 1 for one in given if one is not None):
        return None
    for one in given:
        if one is not None:
            one.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(one)[list(wanted)], one.name))
    for known in (*graph.output, *graph.value_info):
        known.type.tensor_type.ClearField("shape")
    return bytes(model.SerializeToString())
