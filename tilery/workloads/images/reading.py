"""Opens a picture of any format as upright sRGB: with libvips where it can, with Pillow where it cannot.

libvips decodes lazily, so damage shows only when pixels are asked for; the caller then comes back for `with_pillow`.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from tilery.workloads.images import headers
from tilery.workloads.images.measured import as_shades, is_light, is_measured
from tilery.workloads.images.refusals import Refused

PILLOW_MEGAPIXELS = 50.0
"""Pillow holds a picture whole, twice while it is handed over; larger ones are for libvips alone."""
PLAIN_PIXELS = 4_000_000
"""Pixels up to which a plain JPEG is decoded at once."""
MAX_FRAMES = 1000
IN_MEMORY = 64_000_000
"""Bytes of pixels up to which `solid` keeps them in memory."""
TILE = 256
"""Pixels a side of the tiles of a temporary file."""
_SEPARATED = ("cmyk", "lab", "labs", "xyz", "scrgb")
"""Kinds of TIFF of which libvips knows what each channel is."""
_NOT_KNOWN = "is not a known file format"
_BITS_PER_SAMPLE = 258
"""TIFF tag: Pillow leaves 12-bit values as they are, in 16 bits, nearly black."""
_TEXTS = frozenset({".txt", ".csv", ".json", ".pdf"})
_PILLOW_NEVER = frozenset({"EPS", "WMF", "PDF", "BUFR", "GRIB", "HDF5", "MPEG"})
"""Formats that Pillow hands to other programs, or only stubs of one."""


@dataclass(slots=True)
class Facts:
    """What the header says of a picture as it is stored."""

    format: str = ""
    width: int = 0
    height: int = 0
    bands: int = 0
    bits: int = 8
    alpha: bool = False
    frames: int = 1
    orientation: int = 1
    icc: bool = False
    engine: str = "vips"
    pages: list[int] = field(default_factory=list)
    """Where frames are not simply the first pages of the file: their numbers."""
    notes: list[str] = field(default_factory=list)


def with_vips(path: Path, max_megapixels: float, shrink: int = 1, page: int = 0) -> tuple[pyvips.Image, Facts]:
    """The picture, lazily, in stored orientation; `shrink` (2, 4, 8) lets a JPEG decoder do part of a reduction.

    Raises `pyvips.Error` if libvips does not know the format, `Refused` if the picture is too large.
    """
    options: dict[str, Any] = {"access": "sequential", "fail_on": "truncated"}
    if page:
        options["page"] = page
    image = pyvips.Image.new_from_file(str(path), **options)
    loader = str(image.get("vips-loader"))
    full = (image.width, image.height)
    check_size(*full, max_megapixels)
    again: dict[str, Any] = {}
    if shrink > 1 and loader == "jpegload":
        again = {"shrink": shrink}
    if loader == "tiffload":  # of a TIFF that is cut short, "truncated" gives black rows
        again = {"fail_on": "error"}
    if again:
        image = pyvips.Image.new_from_file(str(path), **{**options, **again})
    facts = Facts(
        format=loader.removesuffix("load"),
        width=full[0],
        height=full[1],
        bands=image.bands,
        bits={"uchar": 8, "char": 8, "ushort": 16, "short": 16}.get(image.format, 32),
        alpha=bool(image.hasalpha()),
        frames=_number(image, "n-pages", 1),
        orientation=_number(image, "orientation", 1),
        icc=image.get_typeof("icc-profile-data") != 0,
    )
    if loader == "pngload":
        facts.frames = headers.frames(path)
    if loader == "heifload":
        facts.format = "avif" if _text(image, "heif-compression") == "av1" else facts.format
    if loader == "tiffload":
        if headers.not_read(path) or headers.is_raw(pages := headers.tiff_pages(path)):
            raise Refused(
                "unsupported", "it is the raw file of a camera, of which only a preview could be read; develop it first"
            )
        image = _of_tiff(image, facts, pages, page, path.stat().st_size)
    return image, facts


def _of_tiff(image: pyvips.Image, facts: Facts, pages: list[headers.Tags], page: int, size: int) -> pyvips.Image:
    """What the tags say that libvips does not: which pages are pictures, and which channels are colours."""
    if page < len(pages) and pages[page][headers.END] > size:
        raise Refused("damaged", "it is damaged: it ends before its last tile or tag")  # libvips would paint black
    if len(pages) == facts.frames > 1:
        facts.pages = headers.frames_of(pages)
        facts.frames = len(facts.pages)
    if image.interpretation in _SEPARATED:
        return image
    return _colours(image, facts, headers.last_is_alpha(pages[page]) if page < len(pages) else True)


def _colours(image: pyvips.Image, facts: Facts, alpha: bool) -> pyvips.Image:
    """The channels that are colours, and the next if it is an alpha: to libvips any channel after them is one."""
    colours = 3 if image.bands > 2 else 1
    facts.alpha = alpha and image.bands > colours
    kept = colours + facts.alpha
    if kept == image.bands:
        return image
    facts.notes.append(f"{facts.bands} channels; the first {kept} {'are' if kept > 1 else 'is'} used")
    kind = image.interpretation
    if colours == 3 and kind not in ("srgb", "rgb16"):
        kind = "rgb16" if image.format == "ushort" else "srgb"
    return image[0:kept].copy(interpretation=kind)


def refuse_half(path: Path, max_megapixels: float) -> None:
    """Raise `Refused` for a PNG that libvips cannot read to its end: Pillow would fill what is missing with black."""
    with suppress(pyvips.Error):
        image, facts = with_vips(path, max_megapixels)
        if facts.format == "png":
            try:
                image.avg()
            except pyvips.Error as error:
                raise Refused("damaged", f"it is damaged: {readable(error)}") from None


def plain_jpeg(data: bytes) -> tuple[NDArray[np.uint8], Facts] | None:
    """Pixels (height x width x bands) of a small JPEG that is upright, grey or RGB and without a profile; None of all else.

    Pillow has the same decoder underneath and gives the same pixels as libvips (tested), which sets up threads and buffers for
    pictures of any size: twice the time at 512 x 512.
    """
    from PIL import Image

    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=("JPEG",)) as opened:
            plain = opened.format == "JPEG" and opened.mode in ("L", "RGB") and "icc_profile" not in opened.info
            if not plain or opened.width * opened.height > PLAIN_PIXELS or ("exif" in opened.info and _turned(opened)):
                return None
            values = np.asarray(opened)
    except Exception:  # whatever is wrong with it is found again, and worded, on the long way
        return None
    height, width = values.shape[:2]
    values = values.reshape(height, width, -1)
    return values, Facts("jpeg", width, height, values.shape[2], engine="pillow")


def _turned(opened: Any) -> bool:
    return int(opened.getexif().get(0x0112, 1) or 1) != 1


def with_pillow(path: Path, max_megapixels: float, page: int = 0, trouble: str = "") -> tuple[pyvips.Image, Facts]:
    """The picture decoded by Pillow, in memory. Raises `Refused` with a readable reason; `trouble` is what libvips had."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    Image.MAX_IMAGE_PIXELS = None
    Image.init()
    formats = [name for name in Image.ID if name not in _PILLOW_NEVER]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=formats) as opened:
                facts = Facts(
                    format=str(opened.format).lower(),
                    width=opened.width,
                    height=opened.height,
                    frames=int(getattr(opened, "n_frames", 1)),
                    engine="pillow",
                )
                check_size(facts.width, facts.height, max_megapixels)
                check_size(facts.width, facts.height, PILLOW_MEGAPIXELS, " where libvips cannot read a file")
                if opened.format == "JPEG2000" and opened.mode.startswith("RGB") and headers.jpeg2000_bits(path) > 8:
                    raise Refused(
                        "unsupported", "colours of more than 8 bits are not read from JPEG 2000; save it as TIFF or PNG"
                    )
                if page:
                    opened.seek(page)
                opened.load()
                icc = opened.info.get("icc_profile")
                facts.icc = bool(icc)
                facts.orientation = int(opened.getexif().get(0x0112, 1) or 1)
                upright = ImageOps.exif_transpose(opened)
                image = _handed_over(upright, facts)
                if dict(getattr(opened, "tag_v2", {})).get(_BITS_PER_SAMPLE) == (12,):
                    image = (image * 16).cast("ushort").copy(interpretation="grey16")
    except Refused:
        raise
    except UnidentifiedImageError:
        raise _unknown(path, Image.registered_extensions().get(path.suffix.lower()), trouble) from None
    except MemoryError:
        raise Refused("too_large", "decoding it takes more memory than a picture may use") from None
    except Exception as error:  # a decoder fed with damaged data may raise anything; all of it means the same
        raise Refused("damaged", f"it is damaged or uses a variant that is not read: {readable(error)}") from None
    if icc:
        image = image.copy()
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
    return image, facts


def _unknown(path: Path, format: str | None, trouble: str) -> Refused:
    """Of a file that Pillow does not know; `trouble` is what libvips had with it, if that knew it."""
    if name := headers.not_read(path):
        return Refused("unsupported", f"it is {name}, which is not read; save it as JPEG, PNG or TIFF")
    if trouble and _NOT_KNOWN not in trouble:
        return Refused("damaged", f"it is damaged or uses a variant that is not read: {trouble}")
    if path.suffix.lower() in _TEXTS or format is None:
        return Refused("not_a_picture", "it is not a picture of a format that is known")
    return Refused("damaged", f"its name says {format}, but its content is damaged or of a kind that is not read")


def upright_srgb(image: pyvips.Image, facts: Facts) -> pyvips.Image:
    """The picture upright, in sRGB or grey, 8 or 16 bits a channel, with an alpha if it had one."""
    if facts.engine == "vips" and facts.orientation > 1:
        if facts.orientation > 2:
            image = solid(image)
        image = image.autorot()
    image = _managed(image, facts)
    if image.interpretation == "scrgb" and image.format in ("float", "double"):
        image = solid(image)
        if is_light(image):
            facts.notes.append("floating-point colours are taken as linear light")
        else:
            image = image.copy(interpretation="multiband")
    if is_measured(image):
        image, note = as_shades(solid(image))
        facts.notes += [note] if note else []
    if image.interpretation not in ("srgb", "b-w", "rgb16", "grey16"):
        image = image.colourspace(_space(image))
    if image.format not in ("uchar", "ushort"):
        image = image.cast("ushort" if image.interpretation in ("rgb16", "grey16") else "uchar")
    if image.bands > 4:
        facts.notes.append(f"{image.bands} channels; the first 3 are used")
        image = image[0:3]
    return image


def solid(image: pyvips.Image) -> pyvips.Image:
    """The same pixels, decoded once, in memory or (large) in a temporary file: any part can now be read any number of times.

    The file is a tiled TIFF, because libvips reads its tiles one by one. It maps a file of its own format into memory, all of
    it where a picture is turned, and then it counts as the process's memory.
    """
    if image.width * image.height * image.bands * (2 if image.format == "ushort" else 1) <= IN_MEMORY:
        return image.copy_memory()
    descriptor, path = tempfile.mkstemp(suffix=".tif")
    try:
        # a plain stack of bands: TIFF would store other kinds in its own way, Lab as 8 bits for one
        image.copy(interpretation="multiband").tiffsave(
            path, tile=True, tile_width=TILE, tile_height=TILE, bigtiff=True, keep="none"
        )
        source = pyvips.Source.new_from_descriptor(descriptor)  # keeps the file until the last image of it is gone
    finally:
        os.unlink(path)
        os.close(descriptor)
    stored = pyvips.Image.new_from_source(source, "").copy(interpretation=image.interpretation)
    for name in image.get_fields():
        if name.endswith("-data") or name == "orientation":
            stored.set_type(image.get_typeof(name), name, image.get(name))
    return stored


def check_size(width: int, height: int, max_megapixels: float, where: str = "") -> None:
    megapixels = width * height / 1e6
    if megapixels > max_megapixels:
        raise Refused(
            "too_large",
            f"it has {width} x {height} pixels ({megapixels:.0f} megapixels), more than the {max_megapixels:g} allowed{where}",
        )
    if width < 1 or height < 1:
        raise Refused("damaged", f"its header says {width} x {height} pixels")


def readable(error: Exception) -> str:
    """The line of an error that says most, without paths."""
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith("unable to ")]
    text = telling[0] if telling else f"the decoder gives no reason ({type(error).__name__})"
    return re.sub(r"(/[^\s:'\"]+)+", "the file", text)[:200]


def _text(image: pyvips.Image, name: str) -> str:
    return str(image.get(name)) if image.get_typeof(name) else ""


def _number(image: pyvips.Image, name: str, missing: int) -> int:
    return int(image.get(name)) if image.get_typeof(name) else missing


def _managed(image: pyvips.Image, facts: Facts) -> pyvips.Image:
    """Colours of an embedded profile as sRGB; a profile that cannot be used is noted and ignored."""
    if not image.get_typeof("icc-profile-data"):
        return image
    depth = 16 if image.format == "ushort" else 8
    grey = image.bands - image.hasalpha() == 1
    if grey and image.interpretation in ("b-w", "grey16"):
        return image
    try:
        return image.icc_transform("srgb", embedded=True, intent="relative", depth=depth)
    except pyvips.Error:
        facts.notes.append("its colour profile cannot be used; colours are taken as sRGB")
        return image


def _space(image: pyvips.Image) -> str:
    deep = image.format == "ushort" or image.interpretation in ("rgb16", "grey16", "labs", "scrgb")
    if image.bands - image.hasalpha() <= 1:
        return "grey16" if deep else "b-w"
    return "rgb16" if deep else "srgb"


def _handed_over(picture: Any, facts: Facts) -> pyvips.Image:
    """A Pillow picture as a vips one."""
    mode = picture.mode
    transparent = "transparency" in picture.info
    if mode.startswith("I") or mode == "F":
        facts.bits, facts.bands = 16 if mode.startswith("I;16") else 32, 1
        return _array(np.asarray(picture))
    wanted = {"1": "L", "L": "L", "LA": "LA", "La": "LA", "PA": "RGBA", "RGBa": "RGBA", "RGBA": "RGBA"}.get(mode, "RGB")
    if transparent and wanted in ("L", "RGB"):
        wanted = "RGBA"
    facts.alpha = wanted.endswith("A")
    facts.bands = len(picture.getbands())
    converted = picture if mode == wanted else picture.convert(wanted)
    return _array(np.asarray(converted))


def _array(values: NDArray[Any]) -> pyvips.Image:
    """Pixels, height x width (x bands), copied."""
    kind = "srgb" if values.ndim == 3 and values.shape[2] > 2 else "grey16" if values.dtype == np.uint16 else "b-w"
    return pyvips.Image.new_from_array(np.ascontiguousarray(values), interpretation=kind).copy_memory()
