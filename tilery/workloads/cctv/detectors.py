"""The detector of a run: embedded, or a model of the drop; loaded once a process."""

from __future__ import annotations

import os
from functools import lru_cache

from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.workload import Work
from tilery.workloads.cctv import fetch
from tilery.workloads.cctv.detector import Detector
from tilery.workloads.cctv.detector_description import read
from tilery.workloads.cctv.detector_onnx import MOST_CALLS, OnnxDetector, load
from tilery.workloads.cctv.labels import COCO
from tilery.workloads.cctv.options import CctvOptions

MAX_BYTES = 1024 * 1024 * 1024
MAX_DESCRIPTION = 1024 * 1024
AUTO = (400, "centernet", 400), (1024, "nanodet", 416), (1 << 30, "nanodet8", 512)
"""Up to this longer side of the frame, this detector on pictures of this longer side. CenterNet sees smaller things, which
small pictures have; NanoDet finds more of what is hidden in part. Measured on PETS at several sizes: below 300 pixels
CenterNet is better, above it NanoDet. Large frames hold many small things: on 8 bits NanoDet affords a larger picture."""


def detector_of(work: Work[CctvOptions]) -> Detector | None:
    """The detector of a run; None for `motion`. Raises `BadInput` naming what cannot be used, `Transient` without weights."""
    options = work.options
    classes = tuple(index_of(name) for name in options.classes)
    if options.detector == "motion":
        return None
    if options.detector == "auto":
        longest = max(work.run.facts["frame_size"])
        name, side = next((name, side) for limit, name, side in AUTO if longest <= limit)
        found = _embedded(name, side, classes, work.device, threads())
    elif options.detector in fetch.EMBEDDED:
        found = _embedded(options.detector, 0, classes, work.device, threads())
    else:
        found = _given(work, classes)
    if options.device == "gpu" and found.provider == "CPUExecutionProvider":
        raise BadInput(
            "device=gpu, but ONNX Runtime has no CUDA here: install onnxruntime-gpu in its place, or set device=auto"
        )
    return found


def index_of(name: str) -> int:
    """Of a COCO class; `BadInput` for another."""
    if name not in COCO:
        raise BadInput(f"classes: {name} is no class of COCO; some of those are person, bicycle, car, motorcycle, bus, truck")
    return COCO.index(name)


def threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=2)
def _embedded(name: str, side: int, classes: tuple[int, ...], device: str, count: int) -> OnnxDetector:
    one = fetch.EMBEDDED[name]
    given = one.description.input
    sized = given.model_copy(update={"width": side or given.width, "height": side or given.height})
    description = one.description.model_copy(update={"input": sized})
    return load(name, fetch.model(one), description, classes, device, count, min(count, MOST_CALLS))


def _given(work: Work[CctvOptions], classes: tuple[int, ...]) -> OnnxDetector:
    sources = {source.name: source for source in work.run.sources}
    name = work.options.detector
    described = _source(
        sources, name, f"detector={name}: the drop has no such file; it is the JSON file that describes your model"
    )
    if described.size > MAX_DESCRIPTION:
        raise BadInput(f"{name} is {described.size / 1e6:.0f} MB; a description is a short JSON file")
    description = read(name, work.store.get(described.key, version=described.version))
    wanted = description.model or f"{name.removesuffix('.json')}.onnx"
    model = _source(sources, wanted, f"{name} describes {wanted}, which the drop does not have; upload it beside")
    if model.size > MAX_BYTES:
        raise BadInput(f"{model.name} is {model.size / 1e6:.0f} MB; a detector may have {MAX_BYTES / 1e6:.0f} MB")
    return _loaded(work, model, description.model_dump_json(), classes)


def _source(sources: dict[str, Source], name: str, otherwise: str) -> Source:
    """A file of the drop by its path, or by its name alone where only one has it."""
    found = [source for path, source in sources.items() if path == name or path.rpartition("/")[2] == name]
    if len(found) != 1:
        raise BadInput(otherwise)
    return found[0]


_cached: dict[tuple[str, ...], OnnxDetector] = {}


def _loaded(work: Work[CctvOptions], model: Source, described: str, classes: tuple[int, ...]) -> OnnxDetector:
    from tilery.workloads.cctv.detector_description import Description

    identity = (model.key, model.version, described, str(classes), work.device)
    if identity not in _cached:
        data = work.store.get(model.key, version=model.version)
        refuse_external_data(model.name, data)
        _cached.clear()
        _cached[identity] = load(model.name, data, Description.model_validate_json(described), classes, work.device, threads())
    return _cached[identity]


def refuse_external_data(name: str, data: bytes) -> None:
    """A model may point to other files of the machine it runs on; such a one is refused."""
    import onnx
    from google.protobuf.message import DecodeError
    from onnx.external_data_helper import _get_all_tensors, uses_external_data

    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        raise BadInput(f"{name} is not an ONNX file, or it is damaged; export it again") from None
    if any(uses_external_data(tensor) for tensor in _get_all_tensors(model)):
        raise BadInput(f"{name} keeps its weights in other files; save it as one file (save_as_external_data=False)")
