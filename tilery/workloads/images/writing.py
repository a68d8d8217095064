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


def save(image: pyvips.Image, path: Path, output: Format, quality: int, background: str, keep_metadata: bool) -> None:
    """Write one piece; `pyvips.Error` if the pixels cannot be had or the format cannot hold them."""
    if output == "jpg":
        image = opaque(image, background)
    if output not in DEEP:
        image = shallow(image)
    image.write_to_file(str(path), **_options(output, quality), keep="exif|xmp|iptc" if keep_metadata else "none")


def _options(output: Format, quality: int) -> dict[str, Any]:
    lossless = quality == 100
    match output:
        case "jpg":
            return {"Q": quality, "optimize_coding": True}
        case "png":
            return {"compression": 6}
        case "webp":
            return {"Q": quality, "lossless": lossless}
        case "tiff":
            return {"compression": "deflate", "predictor": "horizontal", "tile": True, "bigtiff": False}
        case "avif":
            return {"Q": quality, "lossless": lossless, "compression": "av1", "effort": 2}
