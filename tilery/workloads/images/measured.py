"""Pictures that are measurements, not shades: signed, 32-bit and floating-point values become 16 bits, and a note says how."""

from __future__ import annotations

import pyvips

TOP = 65535
BRIGHTEST = 100
"""Times white: what the sun's glint may have in a picture of high dynamic range."""
_KINDS = ("char", "short", "int", "uint", "float", "double")
_PLAIN = ("b-w", "grey16", "srgb", "rgb16", "multiband")


def is_measured(image: pyvips.Image) -> bool:
    """Whether the values need a scale; colours in linear light, Lab and the like have theirs."""
    return image.format in _KINDS and image.interpretation in _PLAIN


def is_light(image: pyvips.Image) -> bool:
    """Whether floating-point colours are linear light, as programs for high dynamic range write them, where 1 is white; what
    goes far beyond (0 to 255, reflectance times 10,000) is none. The image is read twice: `solid` it first."""
    return bool(image.max() <= BRIGHTEST and image.min() >= -1)


def as_shades(image: pyvips.Image) -> tuple[pyvips.Image, str]:
    """16 bits a channel, and a note if values were stretched. What is no finite number becomes black.

    Whole numbers of 0 to 65,535 stay; fractions of 0 to 1, and of 0 to 255, go to 0 to 65,535; all others from the least to the
    greatest. The image is read three times: `solid` it first.
    """
    if image.format in ("float", "double"):
        image = ((image - image) == 0).ifthenelse(image, 0)
    low, high = image.min(), image.max()
    whole = image.format not in ("float", "double")
    note = ""
    if whole and low >= 0 and high <= TOP:
        scale, low = 1.0, 0.0
    elif not whole and low >= 0 and high <= 255:
        scale, low = (TOP if high <= 1 else 257.0), 0.0
    else:
        note = f"values of {low:g} to {high:g} are stretched to black and white"
        scale = TOP / max(high - low, 1e-30)
    shades = ((image - low) * scale).rint().cast("ushort")
    return shades.copy(interpretation="rgb16" if image.bands > 2 else "grey16"), note
