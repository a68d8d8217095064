"""How close results are to the same operations in float64, in decibels (PSNR; rounding alone leaves 59), and beside Pillow."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tests.data import real
from tilery.workloads.images import gaussian, picture
from tilery.workloads.images.options import ImagesOptions
from tilery.workloads.images.reading import plain_jpeg

Floats = NDArray[np.float64]
picture.settle()


def across(values: Any, weights: tuple[Floats, Floats]) -> Floats:
    """Rows, then columns, of height x width x bands."""
    down, right = weights
    return np.einsum("ij,jkc->ikc", down, np.einsum("kj,ijc->ikc", right, np.asarray(values, np.float64), optimize=True))


def lanczos(before: int, after: int) -> Floats:
    """Lanczos 3 with its support stretched by the reduction."""
    centres = (np.arange(after) + 0.5) * before / after - 0.5
    far = (np.arange(before) - centres[:, None]) / max(before / after, 1)
    weights = np.where(abs(far) < 3, np.sinc(far) * np.sinc(far / 3), 0)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def bell(side: int, deviation: float) -> Floats:
    """A gaussian out to 8 deviations; the edge pixel goes on for ever."""
    reach = int(8 * deviation) + 1
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / deviation) ** 2)
    matrix = np.zeros((side, side))
    for row in range(side):
        np.add.at(matrix[row], np.clip(row + np.arange(-reach, reach + 1), 0, side - 1), weights / weights.sum())
    return matrix


def decibels(made: Any, exact: Floats) -> float:
    return float(10 * np.log10(255**2 / ((np.asarray(made, np.float64) - np.clip(exact, 0, 255)) ** 2).mean()))


@pytest.fixture(scope="module")
def photo() -> bytes:
    out = io.BytesIO()
    Image.open(real("imagery/photos/cat_1080p.jpg")).convert("RGB").resize((512, 512)).save(out, "JPEG", quality=88)
    return out.getvalue()


def pieces(data: bytes, operations: list[Any], folder: Path) -> list[Image.Image]:
    made = picture.make(folder / "x", "x", folder, ImagesOptions(operations=operations, output="png"), data)
    return [Image.open(io.BytesIO(piece)) for piece in made.inline.values()]


def test_resize_split_blur_is_within_56_decibels_and_better_than_pillow(photo: bytes, tmp_path: Path) -> None:
    whole = Image.open(io.BytesIO(photo))
    exact = across(np.asarray(whole), (lanczos(512, 300), lanczos(512, 200)))
    (small,) = pieces(photo, [["resize", "200x300"]], tmp_path)
    assert decibels(small, exact) > 56
    made = pieces(photo, [["resize", "200x300"], ["split", True], ["blur", "gaussian"]], tmp_path)
    theirs = whole.resize((200, 300), Image.Resampling.LANCZOS)
    for piece, (x, y) in zip(made, ((0, 0), (100, 0), (0, 150), (100, 150)), strict=True):
        wanted = across(exact[y : y + 150, x : x + 100], (bell(150, 2), bell(100, 2)))
        pillow = theirs.crop((x, y, x + 100, y + 150)).filter(ImageFilter.GaussianBlur(2))
        assert decibels(piece, wanted) > max(56, decibels(pillow, wanted))


@settings(deadline=None, max_examples=30)
@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.floats(0.2, gaussian.DEVIATION), st.integers(0, 1000)
)
def test_a_small_blur_is_the_bell_at_every_size_and_edge(
    width: int, height: int, bands: int, deviation: float, seed: int
) -> None:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, bands), np.uint8)
    made = gaussian.blurred(values, deviation)
    exact = across(values, (bell(height, deviation), bell(width, deviation)))
    assert made.shape == values.shape
    assert abs(made - exact).max() < 8  # of noise: 29 weights of a 256th each may be off by half
    assert np.sqrt(((made - exact) ** 2).mean()) < 2


@pytest.mark.parametrize("deviation", [0.3, 1.0, 2.0, 5.0])
def test_a_small_blur_of_a_photograph_is_within_57_decibels(photo: bytes, deviation: float) -> None:
    values = np.asarray(Image.open(io.BytesIO(photo)).resize((200, 200)))
    exact = across(values, (bell(200, deviation), bell(200, deviation)))
    assert decibels(gaussian.blurred(values, deviation), exact) > 57


@pytest.mark.parametrize("size", [(1080, 808), (1083, 811), (1082, 812)])
def test_a_strong_reduction_of_a_jpeg_lies_where_it_should(tmp_path: Path, size: tuple[int, int]) -> None:
    """What the decoder shrinks by 8 and does not divide by it would lie off by as much as a pixel: 33 decibels."""
    out = io.BytesIO()
    Image.open(real("imagery/photos/cat_1080p.jpg")).convert("RGB").resize(size).save(out, "JPEG", quality=95)
    (made,) = pieces(out.getvalue(), [["resize", "60x45"]], tmp_path)
    exact = across(np.asarray(Image.open(io.BytesIO(out.getvalue()))), (lanczos(size[1], 45), lanczos(size[0], 60)))
    assert decibels(made, exact) > 48


@pytest.mark.parametrize("size", [(1024, 1024), (700, 600), (900, 200), (200, 900)])
def test_a_larger_picture_lies_where_the_smaller_one_lay(photo: bytes, tmp_path: Path, size: tuple[int, int]) -> None:
    """Half a pixel off, which libvips' own `resize` is, makes 38 decibels of it."""
    (made,) = pieces(photo, [["resize", f"{size[0]}x{size[1]}"]], tmp_path)
    shrunk = Image.open(io.BytesIO(photo))
    for side in ((min(512, size[0]), min(512, size[1])), size):
        kind = Image.Resampling.BICUBIC if side == size else Image.Resampling.LANCZOS
        shrunk = shrunk.resize(side, kind)
    assert decibels(made, np.asarray(shrunk, np.float64)) > 52


def test_sharpening_is_the_unsharp_mask(photo: bytes, tmp_path: Path) -> None:
    values = np.asarray(Image.open(io.BytesIO(photo)), np.float64)
    (made,) = pieces(photo, [["sharpen", 1]], tmp_path)
    assert decibels(made, 2 * values - across(values, (bell(512, 1), bell(512, 1)))) > 55


@pytest.mark.parametrize("kind", ["gaussian 0.5", "gaussian 1", "gaussian 2", "gaussian 7", "box 1", "box 5"])
def test_blurs_of_larger_pictures_are_as_good_and_keep_the_brightness(photo: bytes, tmp_path: Path, kind: str) -> None:
    """By libvips, with masks that it does not round."""
    (made,) = pieces(photo, [["blur", kind]], tmp_path)
    radius = float(kind.split()[1])
    box = sum(np.eye(512 + 2 * int(radius), k=at)[:512] for at in range(2 * int(radius) + 1)) / (2 * int(radius) + 1)
    weights = bell(512, radius) if kind.startswith("gaussian") else _kept_in(box, int(radius))
    assert decibels(made, across(np.asarray(Image.open(io.BytesIO(photo))), (weights, weights))) > 57
    grey = io.BytesIO()
    Image.new("L", (300, 300), 201).save(grey, "PNG")
    assert pieces(grey.getvalue(), [["blur", kind]], tmp_path)[0].getextrema() == (201, 201)


def _kept_in(weights: Floats, margin: int) -> Floats:
    """Columns beyond the edges added to the edges."""
    inner = weights[:, margin:-margin].copy()
    inner[:, 0] += weights[:, :margin].sum(axis=1)
    inner[:, -1] += weights[:, -margin:].sum(axis=1)
    return inner


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30}, {"mode": "L"}])
def test_a_jpeg_decoded_at_once_has_the_pixels_that_libvips_reads(photo: bytes, how: dict[str, Any]) -> None:
    out = io.BytesIO()
    Image.open(io.BytesIO(photo)).convert(how.pop("mode", "RGB")).crop((3, 5, 400, 250)).save(out, "JPEG", **how)
    read = plain_jpeg(out.getvalue())
    assert read is not None
    wanted = pyvips.Image.new_from_buffer(out.getvalue(), "").numpy()
    assert np.array_equal(read[0], wanted.reshape(read[0].shape))


def test_only_plain_jpegs_are_decoded_at_once(photo: bytes) -> None:
    source = Image.open(io.BytesIO(photo))

    def saved(kind: str = "JPEG", mode: str = "RGB", **more: Any) -> bytes:
        out = io.BytesIO()
        source.convert(mode).save(out, kind, **more)
        return out.getvalue()

    turned = Image.Exif()
    turned[0x0112] = 6
    others = [saved("PNG"), saved(mode="CMYK"), saved(icc_profile=b"x" * 200), saved(exif=turned)]
    others += [photo[:5000], b"", b"\xff\xd8\xff"]
    assert [plain_jpeg(data) for data in others] == [None] * len(others)
