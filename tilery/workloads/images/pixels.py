"""The operations on pixels, with libvips. Pictures are sRGB or grey, 8 or 16 bits, with or without alpha.

Every operation is checked against the size of the picture it gets, so that what fails later is the file, not the request.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from tilery.workloads.images import gaussian
from tilery.workloads.images.operations import (
    MAX_SIDE,
    Blur,
    Contrast,
    Convert,
    Crop,
    Flip,
    Grayscale,
    Normalise,
    Operation,
    Resize,
    Rotate,
    Sharpen,
    Split,
)
from tilery.workloads.images.reading import solid
from tilery.workloads.images.refusals import Refused

MAX_PIECES = 20_000
STRIP = 16
STRIP_PIXELS = 4_000_000
"""Pieces, and pixels of pieces with their frames, that a filter is run on at once."""
Change = Callable[[pyvips.Image], pyvips.Image]


@dataclass(frozen=True, slots=True)
class Piece:
    """One picture on its way, and which piece of the source it is (`1-2` is row 1, column 2; splits of splits join by `_`)."""

    source: pyvips.Image | NDArray[Any]
    """Lazy, or its pixels (height x width x bands): for small pieces libvips takes longer to be asked than to work."""
    label: str
    width: int
    height: int
    interpretation: str

    @classmethod
    def of(cls, image: pyvips.Image, label: str = "") -> Piece:
        return cls(image, label, image.width, image.height, image.interpretation)

    @classmethod
    def of_values(cls, values: NDArray[np.uint8]) -> Piece:
        """Of 8-bit pixels, height x width x bands."""
        height, width, bands = values.shape
        return cls(values, "", width, height, "srgb" if bands > 2 else "b-w")

    def part(self, values: NDArray[Any], label: str = "") -> Piece:
        """A piece of these pixels."""
        return Piece(values, label or self.label, values.shape[1], values.shape[0], self.interpretation)

    @property
    def image(self) -> pyvips.Image:
        if isinstance(self.source, pyvips.Image):
            return self.source
        return pyvips.Image.new_from_array(np.ascontiguousarray(self.source), interpretation=self.interpretation)

    @property
    def plain(self) -> bool:
        """Whether it is grey or RGB of 8 bits, without alpha."""
        if isinstance(self.source, pyvips.Image):
            return bool(self.source.format == "uchar" and self.source.bands in (1, 3))
        return self.source.dtype == np.uint8 and self.source.shape[2] in (1, 3)

    @property
    def values(self) -> NDArray[Any]:
        """Pixels, height x width x bands."""
        values = self.source.numpy() if isinstance(self.source, pyvips.Image) else self.source
        return values.reshape(self.height, self.width, -1)  # libvips drops axes of length 1


def apply(picture: Piece, operations: list[Operation], max_megapixels: float) -> list[Piece]:
    """The pieces after all operations, lazily. Raises `Refused` naming the operation that cannot be done."""
    pieces = [picture]
    for number, operation in enumerate(operations, 1):
        try:
            pieces = _step(pieces, operation)
            for piece in pieces:
                _sane(piece, max_megapixels)
        except Impossible as reason:
            raise Refused("operation", f"operation {number} ({operation.name}): {reason}") from None
        if len(pieces) > MAX_PIECES:
            raise Refused("operation", f"operation {number} ({operation.name}): makes more than {MAX_PIECES:,} pieces")
    return pieces


def first_reduction(operations: list[Operation], width: int, height: int) -> float:
    """By how much the first operation reduces the picture (1 if it does not): what a decoder may do part of."""
    if not operations or not isinstance(operations[0], Resize):
        return 1.0
    across, down, _ = _target(operations[0], width, height)
    return min(width / across, height / down)


class Impossible(Exception):
    """The picture does not allow the operation; the sentence says why."""


def _sane(piece: Piece, max_megapixels: float) -> None:
    if piece.width > MAX_SIDE or piece.height > MAX_SIDE or piece.width * piece.height > max_megapixels * 1e6:
        raise Impossible(
            f"makes a picture of {piece.width} x {piece.height} pixels;"
            f" at most {MAX_SIDE:,} a side and {max_megapixels:g} megapixels"
        )


def _step(pieces: list[Piece], operation: Operation) -> list[Piece]:
    if isinstance(operation, Split):
        return [after for piece in pieces for after in split(piece, operation)]
    if isinstance(operation, Blur) and all(_numpy_is_faster(piece, operation) for piece in pieces):
        return [piece.part(gaussian.blurred(piece.values, operation.radius)) for piece in pieces]
    return _changed(pieces, operation)


def _numpy_is_faster(piece: Piece, how: Blur) -> bool:
    small = piece.width * piece.height <= gaussian.PIXELS and how.radius <= gaussian.DEVIATION
    return small and how.kind == "gaussian" and piece.plain


def _changed(pieces: list[Piece], operation: Operation) -> list[Piece]:
    function = _CHANGES[type(operation)]

    def change(image: pyvips.Image) -> pyvips.Image:
        return function(image, operation)

    if isinstance(operation, Blur | Sharpen):
        margin = math.ceil(gaussian.REACH * operation.radius) + 1
        strips = [pieces[start : start + STRIP] for start in range(0, len(pieces), STRIP)]
        return [after for strip in strips for after in _side_by_side(strip, margin, change)]
    return [Piece.of(change(piece.image), piece.label) for piece in pieces]


def _side_by_side(pieces: list[Piece], margin: int, change: Change) -> list[Piece]:
    """Change small pieces in one go, each in a frame of its own repeated edge as wide as the operation looks.

    The same pixels as one by one (tested); to set up a filter costs libvips as much as to run it on 100 x 100 pixels.
    """
    width = max(piece.width for piece in pieces)
    height = max(piece.height for piece in pieces)
    framed = (width + 2 * margin) * (height + 2 * margin)
    if len(pieces) == 1 or framed * len(pieces) > STRIP_PIXELS or framed > 4 * width * height:
        return [Piece.of(change(piece.image), piece.label) for piece in pieces]
    rows = []
    for piece in pieces:
        below, right = margin + height - piece.height, margin + width - piece.width
        rows.append(np.pad(piece.values, ((margin, below), (margin, right), (0, 0)), mode="edge"))
    strip = Piece.of(change(pieces[0].part(np.concatenate(rows)).image))
    values = strip.values.reshape(len(pieces), height + 2 * margin, width + 2 * margin, -1)
    return [
        strip.part(changed[margin : margin + piece.height, margin : margin + piece.width], piece.label)
        for piece, changed in zip(pieces, values, strict=True)
    ]


def split(piece: Piece, how: Split) -> list[Piece]:
    xs = _edges(piece.width, how.tile_width, how.columns, "wide", "columns")
    ys = _edges(piece.height, how.tile_height, how.rows, "high", "rows")
    if (len(xs) - 1) * (len(ys) - 1) > MAX_PIECES:
        raise Impossible(f"makes {(len(xs) - 1) * (len(ys) - 1):,} pieces; at most {MAX_PIECES:,} are allowed")
    before = f"{piece.label}_" if piece.label else ""
    boxes = [
        (f"{before}{row}-{column}", left, top, right, bottom)
        for row, (top, bottom) in enumerate(pairwise(ys), 1)
        for column, (left, right) in enumerate(pairwise(xs), 1)
    ]
    if piece.width * piece.height <= STRIP_PIXELS:
        values = piece.values
        return [piece.part(values[top:bottom, left:right], label) for label, left, top, right, bottom in boxes]
    image = solid(piece.image)
    return [Piece.of(image.crop(left, top, right - left, bottom - top), label) for label, left, top, right, bottom in boxes]


def _edges(side: int, tile: int | None, count: int, adjective: str, noun: str) -> list[int]:
    """Where to cut a side. Equal parts differ by one pixel at most; together they are the whole side."""
    if tile is not None:
        return [*range(0, side, tile), side]
    if count > side:
        raise Impossible(f"a picture {side} pixels {adjective} cannot be cut into {count} {noun}")
    return [side * number // count for number in range(count + 1)]


def resize(image: pyvips.Image, how: Resize) -> pyvips.Image:
    before = (image.width, image.height)
    width, height, cut = _target(how, *before)
    if (width, height) != before:
        image = _with_alpha(image, lambda flat: _scaled(flat, width, height))
        if (image.width, image.height) != (width, height):
            image = image.gravity("centre", width, height, extend="copy")
    if cut is not None:
        image = image.crop((width - cut[0]) // 2, (height - cut[1]) // 2, *cut)
    return image


def _scaled(image: pyvips.Image, width: int, height: int) -> pyvips.Image:
    """Lanczos 3 where a side shrinks, cubic where it grows; sizes may be a pixel off where both shrink.

    What `resize` of libvips makes larger it moves by up to half a pixel: centres of pixels must lie on each other.
    """
    across, down = width / image.width, height / image.height
    if min(across, down) < 1:
        image = image.resize(min(across, 1), vscale=min(down, 1), kernel="lanczos3")
    if max(across, down) <= 1:
        return image
    stretch = [max(across, 1), 0, 0, max(down, 1)]
    area = [0, 0, width if across > 1 else image.width, height if down > 1 else image.height]
    cubic = pyvips.Interpolate.new("bicubic")
    return image.affine(stretch, interpolate=cubic, oarea=area, idx=0.5, idy=0.5, odx=-0.5, ody=-0.5, extend="copy")


def _target(how: Resize, width: int, height: int) -> tuple[int, int, tuple[int, int] | None]:
    """Size to scale to, and the box that is then cut from its middle."""
    if how.percent is not None:
        return max(1, round(width * how.percent / 100)), max(1, round(height * how.percent / 100)), None
    if how.width is None or how.height is None:
        scale = how.width / width if how.width is not None else (how.height or 1) / height
        return how.width or max(1, round(width * scale)), how.height or max(1, round(height * scale)), None
    if how.mode == "exact":
        return how.width, how.height, None
    across, down = how.width / width, how.height / height
    if how.mode == "fit":
        scale = min(across, down)
        return min(how.width, max(1, round(width * scale))), min(how.height, max(1, round(height * scale))), None
    scale = max(across, down)
    return max(how.width, round(width * scale)), max(how.height, round(height * scale)), (how.width, how.height)


def blur(image: pyvips.Image, how: Blur) -> pyvips.Image:
    if how.kind == "median":
        window = 2 * int(how.radius) + 1
        return _padded(image, int(how.radius), lambda wide: wide.rank(window, window, window * window // 2))
    weights = gaussian.bell_mask(how.radius) if how.kind == "gaussian" else gaussian.box_mask(int(how.radius))
    mask = pyvips.Image.new_from_array([weights], scale=sum(weights))
    return _with_alpha(image, lambda flat: flat.convsep(mask, precision=_precision(flat)))


def _padded(image: pyvips.Image, margin: int, change: Change) -> pyvips.Image:
    """libvips refuses a window larger than the picture: give it a margin of repeated edge pixels."""
    wide = image.embed(margin, margin, image.width + 2 * margin, image.height + 2 * margin, extend="copy")
    return change(wide).crop(margin, margin, image.width, image.height)


def crop(image: pyvips.Image, how: Crop) -> pyvips.Image:
    left = (image.width - how.width) // 2 if how.left is None else how.left
    top = (image.height - how.height) // 2 if how.top is None else how.top
    if left < 0 or top < 0 or left + how.width > image.width or top + how.height > image.height:
        where = "" if how.left is None and how.top is None else f" at {left}, {top}"
        raise Impossible(f"{how.width} x {how.height}{where} does not lie inside a picture of {image.width} x {image.height}")
    return image.crop(left, top, how.width, how.height)


def rotate(image: pyvips.Image, how: Rotate) -> pyvips.Image:
    degrees = how.degrees % 360
    if degrees == 0:
        return image
    image = solid(image)
    if degrees % 90 == 0:
        return image.rot(f"d{int(degrees)}")
    alpha = image.hasalpha()
    ground = [0.0] * image.bands if alpha else _colour(how.background, image)
    return _with_alpha(image, lambda flat: flat.similarity(angle=degrees, background=ground))


def flip(image: pyvips.Image, how: Flip) -> pyvips.Image:
    return image.fliphor() if how.direction == "horizontal" else solid(image).flipver()


def grayscale(image: pyvips.Image, how: Operation) -> pyvips.Image:
    return image.colourspace("grey16" if image.format == "ushort" else "b-w")


def sharpen(image: pyvips.Image, how: Sharpen) -> pyvips.Image:
    weights = gaussian.bell_mask(how.radius)
    bell = pyvips.Image.new_from_array([weights], scale=sum(weights))

    def unsharp(flat: pyvips.Image) -> pyvips.Image:
        return flat + (flat - flat.convsep(bell, precision=_precision(flat))) * how.amount

    return _colours(solid(image), unsharp)


def contrast(image: pyvips.Image, how: Contrast) -> pyvips.Image:
    middle = _full(image) / 2
    return _colours(image, lambda flat: flat.linear(how.factor, middle * (1 - how.factor)))


def normalise(image: pyvips.Image, how: Normalise) -> pyvips.Image:
    image = solid(image)
    grey = image.colourspace("grey16" if image.format == "ushort" else "b-w")[0]
    low = grey.percent(how.clip) if how.clip else grey.min()
    high = grey.percent(100 - how.clip) if how.clip else grey.max()
    if high <= low:
        return image
    scale = _full(image) / (high - low)
    return _colours(image, lambda flat: flat.linear(scale, -low * scale))


def convert(image: pyvips.Image, how: Convert) -> pyvips.Image:
    deep = image.format == "ushort"
    match how.to:
        case "rgb":
            return image.colourspace("rgb16" if deep else "srgb")
        case "gray":
            return grayscale(image, how)
        case "8bit":
            return shallow(image)
        case "16bit":
            return image if deep else image.colourspace("grey16" if image.bands < 3 else "rgb16")
        case "opaque":
            return opaque(image, "#ffffff")
        case _:
            return image


def shallow(image: pyvips.Image) -> pyvips.Image:
    """8 bits a channel."""
    return image if image.format == "uchar" else image.colourspace("b-w" if image.bands < 3 else "srgb")


def opaque(image: pyvips.Image, background: str) -> pyvips.Image:
    """Without alpha, on a background."""
    if not image.hasalpha():
        return image
    return image.flatten(background=_colour(background, image)[: image.bands - 1], max_alpha=_full(image)).cast(image.format)


_CHANGES: dict[type[Operation], Callable[[pyvips.Image, Any], pyvips.Image]] = {
    Resize: resize,
    Blur: blur,
    Crop: crop,
    Rotate: rotate,
    Flip: flip,
    Grayscale: grayscale,
    Sharpen: sharpen,
    Contrast: contrast,
    Normalise: normalise,
    Convert: convert,
}


def _full(image: pyvips.Image) -> float:
    return 65535.0 if image.format == "ushort" else 255.0


def _precision(image: pyvips.Image) -> str:
    return "float" if image.format == "float" else "integer"


def _colour(code: str, image: pyvips.Image) -> list[float]:
    red, green, blue = (int(code[at : at + 2], 16) * _full(image) / 255 for at in (1, 3, 5))
    if image.bands < 3:
        return [0.2126 * red + 0.7152 * green + 0.0722 * blue]
    return [red, green, blue]


def _with_alpha(image: pyvips.Image, change: Change) -> pyvips.Image:
    """Change pixels that are mixed with their neighbours: transparent ones must not bleed their hidden colour."""
    if not image.hasalpha():
        return change(image)
    top = _full(image)
    mixed = change(image.premultiply(max_alpha=top)).unpremultiply(max_alpha=top)
    return _rounded(mixed, image)


def _colours(image: pyvips.Image, change: Change) -> pyvips.Image:
    """Change colours only, and keep alpha, range and kind."""
    if not image.hasalpha():
        return _rounded(change(image), image)
    colours = image[0 : image.bands - 1]
    return _rounded(change(colours), colours).bandjoin(image[image.bands - 1]).copy(interpretation=image.interpretation)


def _rounded(values: pyvips.Image, like: pyvips.Image) -> pyvips.Image:
    return values.rint().cast(like.format).copy(interpretation=like.interpretation)
