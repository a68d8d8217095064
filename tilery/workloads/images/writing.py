"""Encodes pieces. The same pixels give the same bytes: no dates, no software names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyvips

from tilery.workloads.images.operations import Format
from tilery.workloads.images.pixels import opaque, shallow

DEEP: tuple[Format, ...] = ("png", "tiff")
"""Formats that keep 16 bits."""
WEBP_SIDE = 16_383
SMALL = 4_000_000
"""Pixels up to which a piece is encoded in memory, and a JPEG gets tables of its own (4 % smaller)."""
_SAVERS: dict[Format, str] = {"jpg": "jpegsave", "png": "pngsave", "webp": "webpsave", "tiff": "tiffsave", "avif": "heifsave"}


@dataclass(frozen=True, slots=True)
class Saved:
    bytes: int
    sha256: str


def save(image: pyvips.Image, path: Path, output: Format, quality: int, background: str, keep_metadata: bool) -> Saved:
    """Write one piece; `pyvips.Error` if the pixels cannot be had or the format cannot hold them."""
    if output == "jpg":
        image = opaque(image, background)
    if output not in DEEP:
        image = shallow(image)
    pixels = image.width * image.height
    options = {**_options(output, quality, pixels), "keep": "exif|xmp|iptc" if keep_metadata else "none"}
    if pixels <= SMALL:
        data = pyvips.Operation.call(f"{_SAVERS[output]}_buffer", image, **options)
        path.write_bytes(data)
        return Saved(len(data), hashlib.sha256(data).hexdigest())
    pyvips.Operation.call(_SAVERS[output], image, str(path), **options)
    with path.open("rb") as file:
        return Saved(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def _options(output: Format, quality: int, pixels: int) -> dict[str, Any]:
    lossless = quality == 100
    match output:
        case "jpg":
            return {"Q": quality, "optimize_coding": pixels <= SMALL}
        case "png":
            return {"compression": 6}
        case "webp":
            return {"Q": quality, "lossless": lossless}
        case "tiff":
            return {"compression": "deflate", "predictor": "horizontal", "tile": True}
        case "avif":
            return {"Q": quality, "lossless": lossless, "compression": "av1", "effort": 2}
