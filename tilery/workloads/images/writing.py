"""Encodes pieces. The same pixels give the same bytes: no dates, no software names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyvips

from tilery.workloads.images.operations import Format
from tilery.workloads.images.pixels import opaque, shallow

DEEP: tuple[Format, ...] = ("png", "tiff")
"""Formats that keep 16 bits."""
WEBP_SIDE = 16_383
OPTIMISED = 4_000_000
"""Pixels up to which a JPEG gets tables of its own, 4 % smaller: the encoder then holds the whole picture."""
_SAVERS: dict[Format, str] = {"jpg": "jpegsave", "png": "pngsave", "webp": "webpsave", "tiff": "tiffsave", "avif": "heifsave"}


def save(image: pyvips.Image, path: Path, output: Format, quality: int, background: str, keep_metadata: bool) -> None:
    """Write one piece; `pyvips.Error` if the pixels cannot be had or the format cannot hold them."""
    if output == "jpg":
        image = opaque(image, background)
    if output not in DEEP:
        image = shallow(image)
    options = _options(output, quality, image.width * image.height)
    pyvips.Operation.call(_SAVERS[output], image, str(path), **options, keep="exif|xmp|iptc" if keep_metadata else "none")


def _options(output: Format, quality: int, pixels: int) -> dict[str, Any]:
    lossless = quality == 100
    match output:
        case "jpg":
            return {"Q": quality, "optimize_coding": pixels <= OPTIMISED}
        case "png":
            return {"compression": 6}
        case "webp":
            return {"Q": quality, "lossless": lossless}
        case "tiff":
            return {"compression": "deflate", "predictor": "horizontal", "tile": True}
        case "avif":
            return {"Q": quality, "lossless": lossless, "compression": "av1", "effort": 2}
