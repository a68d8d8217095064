"""A picture of any format as a small RGB square, upright, in bounded memory; or the reason why not."""

from __future__ import annotations

import io
import threading
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

Fit = Literal["stretch", "crop", "pad"]
MAX_BYTES = 512 * 1024 * 1024
LARGE_PIXELS = 16_000_000
"""Of larger pictures only one is decoded at a time."""
_NEVER = frozenset({"EPS", "WMF", "PDF", "BUFR", "GRIB", "HDF5", "MPEG"})
"""Formats that Pillow hands to other programs, or only stubs of one."""
_one_large = threading.Lock()


class Unreadable(Exception):
    """A picture that gives no features. `code` is for programs, the sentence for people."""

    def __init__(
        self, code: Literal["empty", "bad_name", "damaged", "too_large", "not_a_picture", "not_finite"], reason: str
    ) -> None:
        super().__init__(reason)
        self.code = code


def square(data: bytes, size_px: int, fit: Fit, max_megapixels: float) -> tuple[NDArray[np.uint8], int, int]:
    """(size_px, size_px, 3) 8-bit RGB, and the width and height of the upright picture. Raises `Unreadable`.

    The first frame of an animation; transparent pixels on white; 16 bits scaled to 8; EXIF orientation applied.
    """
    if not data:
        raise Unreadable("empty", "it is empty (0 bytes): its upload failed; upload it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _square(data, size_px, fit, max_megapixels)
    except Unreadable:
        raise
    except UnidentifiedImageError:
        raise Unreadable("not_a_picture", "it is not a picture of a format that is known") from None
    except MemoryError:
        raise Unreadable("too_large", "decoding it takes more memory than there is") from None
    except Exception as error:  # a decoder fed with damaged data may raise anything; all of it means the same
        said = " ".join(str(error).split())[:160] or type(error).__name__
        raise Unreadable("damaged", f"it is damaged or uses a variant that is not read: {said}") from None


def _square(data: bytes, size_px: int, fit: Fit, max_megapixels: float) -> tuple[NDArray[np.uint8], int, int]:
    Image.MAX_IMAGE_PIXELS = None
    Image.init()
    with Image.open(io.BytesIO(data), formats=[name for name in Image.ID if name not in _NEVER]) as opened:
        width, height = opened.size
        if width * height > max_megapixels * 1e6:
            raise Unreadable("too_large", f"it is {width} x {height}, more than {max_megapixels:g} megapixels")
        if opened.getexif().get(0x0112, 1) in (5, 6, 7, 8):
            width, height = height, width
        # a JPEG decoder can halve the picture for nothing; twice the wanted side leaves the resampling something to do
        opened.draft("RGB", (2 * size_px, 2 * size_px))
        if width * height > LARGE_PIXELS:
            with _one_large:
                return _fitted(_rgb(opened), size_px, fit), width, height
        return _fitted(_rgb(opened), size_px, fit), width, height


def _rgb(opened: Image.Image) -> Image.Image:
    picture = ImageOps.exif_transpose(opened)
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        return _eight_bits(picture)
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        layer = picture.convert("RGBA")
        ground = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(ground, layer).convert("RGB")
    return picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Integers of more than 8 bits are taken as 16 bits; floating point between its extremes."""
    values: NDArray[np.floating[Any]] = np.asarray(picture, np.float32)
    if picture.mode == "F":
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        values = (np.nan_to_num(values, nan=low) - low) * (255 / ((high - low) or 1.0))
    else:
        values = values / 257
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8), "L").convert("RGB")


def _fitted(picture: Image.Image, size_px: int, fit: Fit) -> NDArray[np.uint8]:
    side, how = (size_px, size_px), Image.Resampling.BICUBIC
    if fit == "crop":
        picture = ImageOps.fit(picture, side, how)
    elif fit == "pad":
        picture = ImageOps.pad(picture, side, how, color="white")
    elif picture.size != side:
        picture = picture.resize(side, how, reducing_gap=3.0)
    return np.asarray(picture, np.uint8)
