"""Damage of every kind to every format: a result, or an error of a known kind with a reason; never half a picture."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray
from PIL import Image

from tilery.workloads.images import picture
from tilery.workloads.images.options import ImagesOptions
from tilery.workloads.images.refusals import Code

picture.settle()
PHOTO = Image.effect_noise((96, 64), 60).convert("RGB")
PILLOW = ["BMP", "DDS", "GIF", "ICO", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "SGI", "TGA", "TIFF", "WEBP", "AVIF"]
TIFFS = {
    "TIFF tiles": {"tile": True, "tile_width": 32, "tile_height": 32},
    "TIFF deflate": {"compression": "deflate"},
    "TIFF big": {"bigtiff": True, "tile": True, "tile_width": 32, "tile_height": 32},
}


def content(kind: str) -> bytes:
    if kind in TIFFS:
        return bytes(pyvips.Image.new_from_array(np.asarray(PHOTO)).tiffsave_buffer(**TIFFS[kind]))
    data = io.BytesIO()
    image = PHOTO.resize((64, 64)) if kind == "ICO" else PHOTO
    image.save(data, kind)
    return data.getvalue()


def made(folder: Path, data: bytes) -> tuple[dict[str, Any], NDArray[Any] | None]:
    """The row, and the pixels if there are any."""
    one = picture.make(folder / "source", "x", folder, ImagesOptions(output="png", max_megapixels=4, frames="all"), data)
    if one.row["status"] == "error":
        assert one.row["code"] in get_args(Code)
        assert len(one.row["reason"]) > 10
        return one.row, None
    return one.row, np.asarray(Image.open(io.BytesIO(next(iter(one.inline.values())))).convert("RGBA"))


@pytest.mark.parametrize("kind", [*PILLOW, *TIFFS])
def test_a_file_that_ends_too_early_is_the_whole_picture_or_none(tmp_path: Path, kind: str) -> None:
    data = content(kind)
    whole = made(tmp_path, data)[1]
    assert whole is not None
    for share in (0.02, 0.3, 0.6, 0.9):
        found = made(tmp_path, data[: int(share * len(data))])[1]
        assert found is None or np.array_equal(found, whole), f"{share} of it is another picture"


@pytest.mark.parametrize("kind", [*PILLOW, *TIFFS])
def test_flipped_bits_and_wild_numbers_end_as_a_result_or_a_reason(tmp_path: Path, kind: str) -> None:
    data, chance = content(kind), random.Random(kind)
    for number in range(12):
        wild = bytearray(data)
        at = chance.randrange(min(len(data) - 8, 300))
        if number % 3:
            wild[at] ^= 1 << chance.randrange(8)
        else:
            wild[at : at + 4] = chance.choice([b"\xff" * 4, b"\x7f\xff\xff\xff", bytes(4), b"\xff\xff\xff\x7f"])
        made(tmp_path, bytes(wild))
