"""A detector that is an ONNX model with a description, run by ONNX Runtime."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tilery.outcomes import BadInput
from tilery.workloads.cctv import nms
from tilery.workloads.cctv.detector import Found, Rgb
from tilery.workloads.cctv.detector_classes import narrowed
from tilery.workloads.cctv.detector_decoding import DECODERS, outputs_of
from tilery.workloads.cctv.detector_description import Description, Input

CUDA = "CUDAExecutionProvider"
BATCH = {"CPUExecutionProvider": 1, CUDA: 16}
"""Pictures given to the network at once. On CPUs several at once are no faster than one by one."""
MOST_CALLS = 4
"""Pictures that are worked on side by side on CPUs: a core to itself takes a fifteenth less time for one than two that share
it, and each picture takes memory."""
LEAST_SCORE = 0.1
"""Detections below are noise to the tracker too."""
MOST_BOXES = 1000
"""Candidates of one picture that suppression looks at: the best ones."""


@dataclass(frozen=True)
class OnnxDetector:
    name: str
    digest: str
    description: Description
    session: onnxruntime.InferenceSession
    wanted: NDArray[np.intp]
    """The model's classes that are wanted."""
    labels: NDArray[np.uint8]
    """What each of them is, as an index into `labels.LABELS`."""
    together: int
    """Pictures in a call of the network; the last are filled up with black ones if the model's batch is fixed."""
    calls: int
    """Side by side."""

    @property
    def batch(self) -> int:
        return self.together * self.calls

    @property
    def provider(self) -> str:
        return str(self.session.get_providers()[0])

    @property
    def score(self) -> float:
        return self.description.score

    @property
    def any_size(self) -> bool:
        """On GPUs a new size costs more than a smaller one saves."""
        return self.description.input.free_size and self.provider == "CPUExecutionProvider"

    def size(self, width: int, height: int) -> tuple[int, int]:
        given = self.description.input
        if given.fit == "stretch":
            return given.width, given.height
        factor = min(given.width / width, given.height / height)
        if given.free_size:
            factor = min(factor, 1.0)
        return max(1, round(width * factor)), max(1, round(height * factor))

    def detect(self, pictures: list[Rgb]) -> list[Found]:
        def size(place: int) -> tuple[int, ...]:
            return pictures[place].shape

        alike = [list(places) for _, places in groupby(sorted(range(len(pictures)), key=size), size)]
        parts = [places[at : at + self.together] for places in alike for at in range(0, len(places), self.together)]
        given = ([pictures[place] for place in places] for places in parts)
        side_by_side = self.calls > 1 and len(parts) > 1
        told = chain.from_iterable((self._pool.map if side_by_side else map)(self._batch, given))
        found = dict(zip(chain.from_iterable(parts), told, strict=True))
        return [found[place] for place in range(len(pictures))]

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.calls)

    def _batch(self, pictures: list[Rgb]) -> list[Found]:
        given = tensor(self.description.input, pictures, self.together)
        names = self.description.decode.outputs or [one.name for one in self.session.get_outputs()]
        outputs = self.session.run(names, {self.session.get_inputs()[0].name: given})
        height, width = given.shape[2:] if self.description.input.layout == "nchw" else given.shape[1:3]
        return [self._found(outputs, place, (width, height), one.shape) for place, one in enumerate(pictures)]

    def _found(self, outputs: Sequence[Any], place: int, size: tuple[int, int], shape: tuple[int, ...]) -> Found:
        how = self.description.decode
        scores, boxes_of = DECODERS[how.kind](outputs, place, how, self.wanted, size)
        best = scores.max(1)
        chosen = np.flatnonzero(best >= LEAST_SCORE)
        if len(chosen) > MOST_BOXES:
            chosen = np.sort(chosen[np.argsort(-best[chosen], kind="stable")[:MOST_BOXES]])
        if not len(chosen):
            return Found.nothing()
        limit = np.array([shape[1], shape[0]] * 2, np.float32)
        box = np.clip(boxes_of(chosen), 0, limit).astype(np.float32)
        found = Found(self.labels[scores[chosen].argmax(1)], best[chosen].astype(np.float32), box)
        found = found.take(np.isfinite(box).all(1) & (nms.areas(box) > 0))
        return found.take(nms.suppress(found.box, found.score, how.nms))


def tensor(given: Input, pictures: Sequence[Rgb], batch: int) -> NDArray[np.float32]:
    """The pictures in a letterbox with the margin at the right and bottom, normalised, as the model has them."""
    height, width = pictures[0].shape[:2]
    if given.free_size:
        high, wide = (-(-side // given.multiple) * given.multiple for side in (height, width))
    else:
        high, wide = given.height, given.width
    std, mean = np.asarray(given.std, np.float32), np.asarray(given.mean, np.float32)
    factor, offset = 1 / (np.float32(given.divide) * std), mean / std
    by_colour = given.layout == "nchw"
    made = np.empty((batch, 3, high, wide) if by_colour else (batch, high, wide, 3), np.float32)
    if (high, wide, batch) != (height, width, len(pictures)):
        margin = given.fill * factor - offset
        made[...] = margin.reshape(3, 1, 1) if by_colour else np.tile(margin, wide).reshape(wide, 3)
    for place, picture in enumerate(pictures):
        if by_colour:
            colours = cv2.split(picture)
            for channel, colour in enumerate(reversed(colours) if given.colours == "bgr" else colours):
                plane = made[place, channel, :height, :width]
                np.multiply(colour, factor[channel], out=plane)
                plane -= offset[channel]
        else:
            inside = made[place, :height, :width]
            inside[...] = picture[..., ::-1] if given.colours == "bgr" else picture
            if (factor != 1).any() or offset.any():
                inside *= factor
                inside -= offset
    return made


def load(
    name: str, data: bytes, description: Description, classes: Sequence[int], device: str, cores: int, calls: int = 1
) -> OnnxDetector:
    """A detector that looks for `classes` (indices into `labels.LABELS`), on so many cores, in so many calls side by side.

    Raises `BadInput` naming what does not fit."""
    labels = description.labels
    wanted = [place for place, label in enumerate(labels) if label in set(classes)]
    less = _narrowed(data, description, wanted)
    session = _session(name, less or data, device, max(1, cores // calls))
    if not wanted:
        raise BadInput(f"{name} knows none of the classes that are looked for; set classes to some of what it knows")
    fixed = session.get_inputs()[0].shape[0]
    identity = hashlib.sha256(data + description.model_dump_json(exclude={"score", "licence", "model"}).encode())
    detector = OnnxDetector(
        name=name,
        digest=identity.hexdigest(),
        description=description,
        session=session,
        wanted=np.arange(len(wanted)) if less else np.array(wanted),
        labels=np.array([labels[place] for place in wanted], np.uint8),
        together=fixed if isinstance(fixed, int) and fixed > 0 else BATCH[session.get_providers()[0]],
        calls=calls if session.get_providers()[0] == "CPUExecutionProvider" else 1,
    )
    _try(detector)
    return detector


def _narrowed(data: bytes, description: Description, wanted: Sequence[int]) -> bytes | None:
    """A map of scores for each class is a share of a network's cost: of CenterNet's, at its fine stride, a large one."""
    how = description.decode
    maps = {"centernet": 1, "nanodet": len(how.strides)}.get(how.kind, 0)
    if not maps or not wanted or len(wanted) == len(description.labels):
        return None
    return narrowed(data, how.outputs, maps, len(description.labels), wanted)


def _session(name: str, data: bytes, device: str, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.use_deterministic_compute = True
    options.log_severity_level = 4
    if not _adds_whole():  # twice the time, but the sums that other processors come to
        options.add_session_config_entry("session.x64quantprecision", "1")
    # waiting threads sleep: other workers share the machine
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    cuda = (CUDA, {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"})
    wanted: list[Any] = [cuda] if device == "gpu" and CUDA in onnxruntime.get_available_providers() else []
    try:
        return onnxruntime.InferenceSession(data, options, providers=[*wanted, "CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises many kinds of its own, all of which mean that the model does not load
        raise BadInput(f"{name} is no ONNX model that can be run here: {_short(error)}") from None


@lru_cache(maxsize=1)
def _adds_whole() -> bool:
    """Whether the processor multiplies and adds 8-bit integers without clipping sums to 16 bits (AVX-VNNI, AVX512-VNNI)."""
    try:
        return "_vnni" in Path("/proc/cpuinfo").read_text()
    except OSError:
        return False


def _try(detector: OnnxDetector) -> None:
    """Run it once on a grey picture: what is wrong with a model or its description is said before any video is decoded."""
    name, how = detector.name, detector.description.decode
    inputs, outputs = detector.session.get_inputs(), [one.name for one in detector.session.get_outputs()]
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4:
        found = ", ".join(f"{one.name} {one.type} {one.shape}" for one in inputs)
        raise BadInput(f"{name} must take one float tensor of pictures, 4-dimensional; it takes {found}")
    if unknown := [one for one in how.outputs if one not in outputs]:
        raise BadInput(f"{name} has no output {unknown[0]}; its outputs are {', '.join(outputs)}")
    if len(how.outputs or outputs) != outputs_of(how):
        raise BadInput(
            f"{name} is decoded as {how.kind}, which reads {outputs_of(how)} outputs; name them of {', '.join(outputs)}"
        )
    given = detector.description.input
    try:
        detector.detect([np.full((given.height, given.width, 3), 127, np.uint8)])
    except Exception as error:  # a wrong description shows as any kind of error, from ONNX Runtime or from indexing
        raise BadInput(f"{name} cannot be run as its description says: {_short(error)}") from None


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
