"""Encodes pieces. The same pixels give the same bytes: no dates, no software names."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyvips

from tilery.workloads.images.operations import Format
from tilery.workloads.images.pixels import Piece, opaque, shallow

DEEP: tuple[Format, ...] = ("png", "tiff")
"""Formats that keep 16 bits."""
WEBP_SIDE = 16_383
SMALL = 4_000_000
"""Pixels up to which a piece is encoded in memory, and a JPEG gets tables of its own (4 % smaller)."""
FULL_COLOUR = 90
"""Quality from which a JPEG keeps its colours at full resolution, as libvips does."""
_SAVERS: dict[Format, str] = {"jpg": "jpegsave", "png": "pngsave", "webp": "webpsave", "tiff": "tiffsave", "avif": "heifsave"}


@dataclass(frozen=True, slots=True)
class Saved:
    size: int
    """Bytes."""
    sha256: str
    data: bytes | None
    """What a small piece was encoded to; a large one is in its file."""


def save(piece: Piece, path: Path, output: Format, quality: int, background: str, keep_metadata: bool) -> Saved:
    """Encode one piece, a large one to a file; `pyvips.Error` if the pixels cannot be had or the format cannot hold them."""
    pixels = piece.width * piece.height
    if output == "jpg" and pixels <= SMALL and not keep_metadata:
        return _in_memory(_small_jpeg(piece, quality, background))
    image = piece.image
    if output == "jpg":
        image = opaque(image, background)
    if output not in DEEP:
        image = shallow(image)
    options = {**_options(output, quality, pixels), "keep": "exif|xmp|iptc" if keep_metadata else "none"}
    if pixels <= SMALL:
        return _in_memory(pyvips.Operation.call(f"{_SAVERS[output]}_buffer", image, **options))
    path.parent.mkdir(exist_ok=True)
    pyvips.Operation.call(_SAVERS[output], image, str(path), **options)
    with path.open("rb") as file:
        return Saved(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest(), None)


def _in_memory(data: bytes) -> Saved:
    return Saved(len(data), hashlib.sha256(data).hexdigest(), data)


def _small_jpeg(piece: Piece, quality: int, background: str) -> bytes:
    """By Pillow: the same library underneath, the same settings, a tenth of what libvips needs to set up for a small piece."""
    from PIL import Image

    source = piece.source
    lazy = isinstance(source, pyvips.Image)
    if lazy or source.dtype != np.uint8 or (source.ndim == 3 and source.shape[2] in (2, 4)):
        # pixels that are still lazy can be had once: a stream does not turn back
        piece = Piece.of(shallow(opaque(piece.image, background)))
    values = piece.values
    out = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(values[:, :, 0] if values.shape[2] == 1 else values))
    picture.save(out, "jpeg", quality=quality, optimize=True, subsampling=0 if quality >= FULL_COLOUR else 2)
    return out.getvalue()


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
