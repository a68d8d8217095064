"""One picture: what the operations do to pixels, and how every kind of file ends as a result or a reason."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFilter, TiffImagePlugin

from tests.data import ROOT, real
from tilery.workloads.images import headers, picture, pixels
from tilery.workloads.images.operations import Split
from tilery.workloads.images.options import ImagesOptions
from tilery.workloads.images.reading import solid, upright_srgb, with_vips

picture.settle()


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A smooth picture that is different everywhere."""
    y, x = np.mgrid[0:height, 0:width]
    bands = [x * 255 // max(width - 1, 1), y * 255 // max(height - 1, 1), (x + y) % 256, np.full_like(x, 255)]
    values = np.stack(bands[: {"L": 1, "RGB": 3, "RGBA": 4}[mode]], axis=-1).astype(np.uint8)
    return Image.fromarray(values[..., 0] if mode == "L" else values)


def do(
    tmp_path: Path, source: Image.Image | bytes | Path, operations: list[Any], **more: Any
) -> tuple[dict[str, Any], list[Any]]:
    """The row, and the pieces as arrays; results are lossless PNG."""
    path = source if isinstance(source, Path) else tmp_path / "source"
    if isinstance(source, Image.Image):
        source.save(path, "PNG")
    elif isinstance(source, bytes):
        path.write_bytes(source)
    out = tmp_path / "out"
    out.mkdir(exist_ok=True)
    row = laid(path, out, ImagesOptions(operations=operations, **{"output": "png", **more}))
    return row, [np.asarray(Image.open(out / piece["file"])) for piece in row["pieces"]]


def laid(path: Path, folder: Path, options: ImagesOptions) -> dict[str, Any]:
    """The row; all pieces are files."""
    made = picture.make(path, "x", folder, options)
    for name, data in made.inline.items():
        (folder / name).write_bytes(data)
    return made.row


def saved(image: Image.Image, kind: str, **more: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **more)
    return out.getvalue()


def png(width: int, height: int, lines: bytes) -> bytes:
    """A grey one with these lines, each behind its filter byte, whatever the header says."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("operation", "width", "height"),
    [
        ("200x300", 200, 300),
        ("50%", 60, 40),
        ("30x", 30, 20),
        ("x20", 30, 20),
        ("60x60 fit", 60, 40),
        ("60x60 fill", 60, 60),
        ("1x1", 1, 1),
    ],
)
def test_resize_makes_the_size_that_was_asked_for(tmp_path: Path, operation: str, width: int, height: int) -> None:
    row, _ = do(tmp_path, noise(120, 80), [["resize", operation]])
    assert (row["pieces"][0]["width"], row["pieces"][0]["height"]) == (width, height)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_strong_reduction_looks_like_pillows(tmp_path: Path, kind: str) -> None:
    source = real("imagery/photos/cat_1080p.jpg")
    data = saved(Image.open(source).convert("RGB"), kind)
    _, (made,) = do(tmp_path, data, [["resize", "120x68"]])
    wanted = np.asarray(Image.open(source).convert("RGB").resize((120, 68), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(made - wanted).mean() < 2


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 5), st.integers(1, 5))
def test_the_pieces_of_a_split_are_the_whole_picture(width: int, height: int, columns: int, rows: int) -> None:
    columns, rows = min(columns, width), min(rows, height)
    whole = np.arange(width * height, dtype=np.uint8).reshape(height, width, 1)
    image = pyvips.Image.new_from_memory(whole.tobytes(), width, height, 1, "uchar")
    pieces = [
        np.frombuffer(piece.image.write_to_memory(), np.uint8).reshape(piece.image.height, piece.image.width)
        for piece in pixels.split(pixels.Piece.of(image), Split(columns=columns, rows=rows))
    ]
    lines = [np.hstack(pieces[start : start + columns]) for start in range(0, len(pieces), columns)]
    assert np.array_equal(np.vstack(lines).reshape(whole.shape), whole)
    assert max(piece.shape[1] for piece in pieces) - min(piece.shape[1] for piece in pieces) <= 1


def test_after_a_split_every_step_applies_to_every_piece(tmp_path: Path) -> None:
    row, made = do(tmp_path, noise(40, 40), [["split", True], ["resize", "8x6"], ["split", "2x1"], "grayscale"])
    assert [piece["file"] for piece in row["pieces"]][:3] == ["x__1-1_1-1.png", "x__1-1_1-2.png", "x__1-2_1-1.png"]
    assert [piece.shape for piece in made] == [(6, 4)] * 8


@pytest.mark.parametrize("operation", ["gaussian 2", "gaussian 0.4", "gaussian 7.3", "box 3", "median 2", "sharpen"])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_pieces_filtered_side_by_side_are_those_filtered_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str, mode: str
) -> None:
    steps = [["split", "3x2"], ["sharpen", 2] if operation == "sharpen" else ["blur", operation]]
    source = noise(101, 67, mode)
    source.paste(source.resize((13, 11)), (30, 20))
    _, together = do(tmp_path, source, steps)
    monkeypatch.setattr(pixels, "STRIP_PIXELS", 0)
    _, alone = do(tmp_path, source, steps)
    assert all(np.array_equal(one, other) for one, other in zip(together, alone, strict=True))


def test_tiles_cover_the_picture_and_the_last_are_smaller(tmp_path: Path) -> None:
    row, _ = do(tmp_path, noise(50, 30), [["split", "tile 20"]])
    assert [(piece["width"], piece["height"]) for piece in row["pieces"]] == [
        (20, 20),
        (20, 20),
        (10, 20),
        (20, 10),
        (20, 10),
        (10, 10),
    ]


def test_order_matters_and_is_kept(tmp_path: Path) -> None:
    _, (cut_first,) = do(tmp_path, noise(40, 40), [["crop", "20x20+0+0"], ["rotate", 90]])
    _, (turned_first,) = do(tmp_path, noise(40, 40), [["rotate", 90], ["crop", "20x20+0+0"]])
    assert not np.array_equal(cut_first, turned_first)
    assert np.array_equal(cut_first, np.rot90(np.asarray(noise(40, 40))[:20, :20], -1))


def test_flip_crop_and_quarter_turns_move_pixels_and_change_none(tmp_path: Path) -> None:
    whole = np.asarray(noise(30, 20))
    for operation, wanted in (
        (["flip", "horizontal"], whole[:, ::-1]),
        (["flip", "vertical"], whole[::-1]),
        (["rotate", 180], whole[::-1, ::-1]),
        (["crop", "10x5+3+4"], whole[4:9, 3:13]),
        (["crop", "10x10"], whole[5:15, 10:20]),
    ):
        assert np.array_equal(do(tmp_path, noise(30, 20), [operation])[1][0], wanted), operation


def test_gaussian_blur_is_the_one_of_pillow(tmp_path: Path) -> None:
    photo = Image.open(real("imagery/photos/cat_1080p.jpg")).convert("RGB").resize((300, 200))
    _, (made,) = do(tmp_path, photo, [["blur", "gaussian 2"]])
    wanted = np.asarray(photo.filter(ImageFilter.GaussianBlur(2))).astype(int)
    assert np.abs(made[10:-10, 10:-10] - wanted[10:-10, 10:-10]).mean() < 1


def test_box_and_median_blur_are_those_of_pillow(tmp_path: Path) -> None:
    photo = Image.open(real("imagery/photos/cat_1080p.jpg")).convert("L").resize((120, 90))
    for operation, filter_ in (("box 2", ImageFilter.BoxBlur(2)), ("median 1", ImageFilter.MedianFilter(3))):
        _, (made,) = do(tmp_path, photo, [["blur", operation]])
        wanted = np.asarray(photo.filter(filter_)).astype(int)
        assert np.abs(made[3:-3, 3:-3] - wanted[3:-3, 3:-3]).max() <= 2, operation


def test_a_window_larger_than_the_picture_is_no_error(tmp_path: Path) -> None:
    for operation in ("median 10", "box 50", "gaussian 30"):
        row, _ = do(tmp_path, noise(5, 4), [["blur", operation]])
        assert row["status"] == "ok", row["reason"]


def test_normalise_uses_the_full_range_and_contrast_moves_away_from_grey(tmp_path: Path) -> None:
    grey = Image.fromarray(np.linspace(100, 150, 2500).reshape(50, 50).astype(np.uint8))
    _, (stretched,) = do(tmp_path, grey, [["normalise", 0]])
    assert (stretched.min(), stretched.max()) == (0, 255)
    _, (strong,) = do(tmp_path, grey, [["contrast", 2]])
    assert abs(int(strong[0, 0]) - 72.5) <= 1
    flat, _ = do(tmp_path, Image.new("RGB", (9, 9), (7, 7, 7)), [["normalise", True]])
    assert flat["status"] == "ok"


def test_transparent_pixels_do_not_bleed_their_hidden_colour(tmp_path: Path) -> None:
    image = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (20, 0, 40, 40))
    for operation in (["blur", "gaussian 3"], ["resize", "17x17"], ["rotate", 30], ["blur", "box 2"]):
        _, (made,) = do(tmp_path, image, [operation])
        seen = made[made[..., 3] > 20]
        assert seen[:, 0].max() <= 6, operation
        assert made.shape[2] == 4


def test_a_jpeg_of_a_transparent_picture_shows_the_background(tmp_path: Path) -> None:
    image = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    _, (made,) = do(tmp_path, image, [], output="jpg", background="#00ff00")
    assert made.shape == (16, 16, 3)
    assert abs(made.astype(int) - [0, 255, 0]).max() < 4


def test_sixteen_bits_stay_in_png_and_tiff_and_become_eight_in_jpeg(tmp_path: Path) -> None:
    deep = Image.fromarray((np.arange(256, dtype=np.uint16) * 257).reshape(16, 16))
    row, (made,) = do(tmp_path, deep, [["contrast", 1]])
    assert row["bits"] == 16
    assert np.array_equal(made, np.asarray(deep))
    _, (shallow,) = do(tmp_path, deep, [], output="jpg")
    assert shallow.dtype == np.uint8
    assert abs(shallow.astype(int) - np.arange(256).reshape(16, 16)).mean() < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_upright_whatever_its_orientation_tag(tmp_path: Path, orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(noise(64, 32), "JPEG", quality=95, exif=exif)
    row, (made,) = do(tmp_path, data, [["resize", "200%"]])
    wanted = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert (made.shape[1], made.shape[0]) == (wanted.width * 2, wanted.height * 2)
    assert np.abs(made[::2, ::2].astype(int) - np.asarray(wanted)).mean() < 6
    assert row["orientation"] == orientation


def test_colours_of_a_profile_become_srgb(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    plain, (without,) = do(tmp_path, noise(32, 32), [])
    data = saved(noise(32, 32), "PNG", icc_profile=srgb.tobytes())
    row, (made,) = do(tmp_path, data, [])
    assert (plain["icc"], row["icc"]) == (False, True)
    assert np.abs(made.astype(int) - without).max() <= 2
    broken, _ = do(tmp_path, saved(noise(32, 32), "PNG", icc_profile=b"nonsense" * 40), [])
    assert broken["status"] == "ok"


def test_of_an_animation_the_first_frame_or_every_one(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (10, 100, 200)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    row, made = do(tmp_path, data, [])
    assert len(made) == 1
    assert "it has 3 frames" in row["notes"][0]
    row, made = do(tmp_path, data, [], frames="all")
    assert [piece["file"] for piece in row["pieces"]] == ["x__f0001.png", "x__f0002.png", "x__f0003.png"]
    assert [int(piece[..., 0].flat[0]) for piece in made] == [10, 100, 200]


def test_of_an_animated_png_every_frame_though_libvips_knows_the_first_only(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (10, 100, 200)]
    data = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    row, made = do(tmp_path, data, [])
    assert (len(made), row["frames"]) == (1, 3)
    _, made = do(tmp_path, data, [], frames="all")
    assert [int(piece[..., 0].flat[0]) for piece in made] == [10, 100, 200]


@pytest.mark.parametrize(
    ("values", "wanted", "note"),
    [
        (np.linspace(0, 1, 64, dtype=np.float32), np.linspace(0, 65535, 64), ""),
        (np.arange(64, dtype=np.float32) * 4, np.arange(64) * 1028, ""),
        (np.linspace(-40, 60, 64, dtype=np.float32), np.linspace(0, 65535, 64), "values of -40 to 60 are stretched"),
        (np.arange(64, dtype=np.int32) * 1000, np.arange(64) * 1000, ""),
        (np.arange(64, dtype=np.int32) * 5000, np.linspace(0, 65535, 64), "values of 0 to 315000 are stretched"),
        (np.arange(-32, 32, dtype=np.int8), np.linspace(0, 65535, 64), "values of -32 to 31 are stretched"),
        (np.where(np.arange(64) == 5, np.nan, np.float32(0.5)), np.where(np.arange(64) == 5, 0, 32768), ""),
    ],
    ids=["fractions", "shades", "negative", "whole", "large", "signed", "holes"],
)
def test_measurements_become_shades_and_a_note_says_how(tmp_path: Path, values: Any, wanted: Any, note: str) -> None:
    pyvips.Image.new_from_array(values.reshape(8, 8).astype(values.dtype if values.dtype != float else np.float32)).tiffsave(
        str(tmp_path / "source.tif")
    )
    row, (made,) = do(tmp_path, tmp_path / "source.tif", [])
    assert abs(made.ravel().astype(int) - wanted).max() <= 1
    assert " ".join(row["notes"]).startswith(note)
    assert bool(row["notes"]) == bool(note)


@pytest.mark.parametrize(
    ("white", "middle", "note"),
    [
        (1.0, 188, "floating-point colours are taken as linear light"),
        (255.0, 128, ""),
        (10_000.0, 128, "values of 0 to 10000 are stretched"),
    ],
    ids=["light", "shades", "reflectance"],
)
def test_colours_of_floating_point_are_light_up_to_white_and_else_measurements(
    tmp_path: Path, white: float, middle: int, note: str
) -> None:
    """IEC 61966-2-1: half the light is the shade 0.7354."""
    ramp = np.repeat(np.linspace(0, white, 65, dtype=np.float32).reshape(1, 65, 1), 3, axis=2)
    pyvips.Image.new_from_array(ramp).tiffsave(str(tmp_path / "source.tif"))
    row, (made,) = do(tmp_path, tmp_path / "source.tif", [])
    assert made[0, 32].astype(int) == pytest.approx([middle] * 3, abs=1)
    assert made[0, 64].tolist() == [255] * 3
    assert " ".join(row["notes"]).startswith(note)


@pytest.mark.parametrize(("kind", "bands"), [("RGBX", 3), ("RGBA", 4)])
def test_a_fourth_channel_of_a_tiff_is_an_alpha_only_if_it_says_so(tmp_path: Path, kind: str, bands: int) -> None:
    """Aerial pictures have near infrared there."""
    source = noise(30, 20, "RGBA")
    channels = [*source.split()[:3], Image.new("L", source.size, 77)]
    row, (made,) = do(tmp_path, saved(Image.merge(kind, channels), "TIFF"), [])
    assert made.shape == (20, 30, bands)
    assert np.array_equal(made[..., :3], np.asarray(source)[..., :3])
    assert row["alpha"] == (bands == 4)
    assert row["notes"] == ([] if bands == 4 else ["4 channels; the first 3 are used"])


def test_of_many_channels_the_first_three_are_colours(tmp_path: Path) -> None:
    values = np.random.default_rng(3).integers(0, 65536, (9, 11, 7), np.uint16)
    pyvips.Image.new_from_array(values, interpretation="multiband").tiffsave(str(tmp_path / "source.tif"))
    image, facts = with_vips(tmp_path / "source.tif", 1)
    assert np.array_equal(upright_srgb(image, facts).numpy(), values[..., :3])
    assert facts.notes == ["7 channels; the first 3 are used"]


def test_a_png_that_ends_in_good_order_but_too_early_is_damaged(tmp_path: Path) -> None:
    """Pillow would fill what is missing with black."""

    row, _ = do(tmp_path, png(20, 20, bytes(21) * 9), [])
    assert (row["code"], row["pieces"]) == ("damaged", [])
    assert row["reason"].startswith("it is damaged: ")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(50), "HEIC"),
        (b"\xff\x0a" + bytes(50), "JPEG XL"),
        (b"%PDF-1.4", "PDF"),
        (b'\xef\xbb\xbf <svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'<?xml version="1.0"?><!-- drawn --><svg/>', "SVG"),
        (b"#?RADIANCE\n", "Radiance HDR"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(range(200)), "HEIC"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(50), "the raw file of a camera"),
        (b"FUJIFILMCCD-RAW 0201" + bytes(50), "the raw file of a camera"),
    ],
)
def test_a_known_format_that_is_not_read_is_named(tmp_path: Path, data: bytes, name: str) -> None:
    row, _ = do(tmp_path, data, [])
    assert (row["code"], row["reason"]) == ("unsupported", f"it is {name}, which is not read; save it as JPEG, PNG or TIFF")


@pytest.mark.parametrize(
    "tags",
    [{254: 1, 330: 8}, {262: 32803}, {50706: b"\1\4\0\0"}],
    ids=["preview", "mosaic", "DNG"],
)
def test_of_the_raw_file_of_a_camera_no_preview_is_taken_for_the_picture(tmp_path: Path, tags: dict[int, Any]) -> None:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in tags.items():
        info[tag] = value
    data = saved(noise(40, 30), "TIFF", tiffinfo=info)
    assert all(Image.open(io.BytesIO(data)).tag_v2.get(tag) for tag in tags if tag != 262)
    row, made = do(tmp_path, data, [])
    assert made == []
    assert row["code"] == "unsupported"
    assert row["reason"] == "it is the raw file of a camera, of which only a preview could be read; develop it first"


def test_text_that_is_no_drawing_is_no_picture(tmp_path: Path) -> None:
    assert do(tmp_path, b"<?xml version='1.0'?><plist/>", [])[0]["code"] == "not_a_picture"


@pytest.mark.parametrize("compression", ["none", "deflate", "jpeg"])
def test_of_a_tiff_that_ends_before_its_last_tile_nothing_is_painted_black(tmp_path: Path, compression: str) -> None:
    whole = pyvips.Image.new_from_array(np.asarray(noise(300, 200)))
    data = whole.tiffsave_buffer(tile=True, tile_width=64, tile_height=64, compression=compression)
    at = struct.unpack_from("<L", data, 4)[0]
    count = struct.unpack_from("<H", data, at)[0]
    assert do(tmp_path, data, [])[0]["status"] == "ok"
    row, made = do(tmp_path, _cut(data, at, count), [])
    assert (row["code"], made) == ("damaged", [])


def _cut(data: bytes, at: int, count: int) -> bytes:
    """The TIFF with the offset of one of its tiles beyond its end, as where a copy broke off."""
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, _, many, where = struct.unpack_from("<HHLL", data, entry)
        if tag == 324:
            last = where + 4 * (many - 1)
            return data[:last] + struct.pack("<L", len(data) - 5) + data[last + 4 :]
    raise AssertionError("no tiles")


def test_pages_of_a_tiff_that_lead_back_to_the_first_are_read_once(tmp_path: Path) -> None:
    data = bytearray(saved(noise(8, 8), "TIFF"))
    at = struct.unpack_from("<L", data, 4)[0]
    after = at + 2 + 12 * struct.unpack_from("<H", data, at)[0]
    data[after : after + 4] = struct.pack("<L", at)
    (tmp_path / "source.tif").write_bytes(data)
    assert len(headers.tiff_pages(tmp_path / "source.tif")) == 1


def test_smaller_copies_of_a_tiff_in_the_same_file_are_no_pages_of_it(tmp_path: Path) -> None:
    whole = pyvips.Image.new_from_array(np.asarray(noise(600, 400)))
    data = whole.tiffsave_buffer(tile=True, tile_width=128, tile_height=128, pyramid=True)
    assert pyvips.Image.new_from_buffer(data, "").get("n-pages") > 1
    row, made = do(tmp_path, data, [], frames="all")
    assert (row["frames"], row["notes"], len(made)) == (1, [], 1)
    pages = saved(noise(8, 8), "TIFF", save_all=True, append_images=[noise(8, 8)] * 2)
    assert len(do(tmp_path, pages, [], frames="all")[1]) == 3


def test_colours_of_16_bits_in_jpeg_2000_are_refused_as_pillow_turns_white_to_black(tmp_path: Path) -> None:
    data = bytearray(saved(noise(16, 16), "JPEG2000", no_jp2=True))
    assert do(tmp_path, bytes(data), [])[0]["status"] == "ok"
    data[data.index(b"\xff\x51") + 40] = 15
    (tmp_path / "source").write_bytes(data)
    assert headers.jpeg2000_bits(tmp_path / "source") == 16
    assert do(tmp_path, bytes(data), [])[0]["code"] in ("unsupported", "damaged")


def test_the_reason_of_a_picture_does_not_depend_on_the_one_before(tmp_path: Path) -> None:
    cut = saved(noise(64, 64), "JPEG")[:600]
    alone = do(tmp_path, cut, [])[0]["reason"]
    for other in (saved(noise(64, 64), "TIFF")[:900], b"%PDF", saved(noise(64, 64), "PNG")[:300]):
        do(tmp_path, other, [])
        assert do(tmp_path, cut, [])[0]["reason"] == alone


@pytest.mark.parametrize("output", ["jpg", "png", "webp", "tiff", "avif"])
def test_every_output_format_opens_again_and_has_the_same_bytes_twice(tmp_path: Path, output: str) -> None:
    first, (made,) = do(tmp_path, noise(33, 21), [], output=output)
    second, _ = do(tmp_path, noise(33, 21), [], output=output)
    assert made.shape[:2] == (21, 33)
    assert first["pieces"] == second["pieces"]


def test_metadata_goes_only_where_it_is_asked_for(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    data = saved(noise(16, 16), "JPEG", exif=exif)
    for keep, wanted in (("drop", None), ("keep", "Maker")):
        do(tmp_path, data, [], output="jpg", metadata=keep)
        assert Image.open(tmp_path / "out" / "x.jpg").getexif().get(0x010F) == wanted


def test_an_operation_that_the_picture_does_not_allow_is_named(tmp_path: Path) -> None:
    row, _ = do(tmp_path, noise(5, 5), [["flip", True], ["crop", "9x9"]])
    assert (row["status"], row["code"]) == ("error", "operation")
    assert row["reason"] == "operation 2 (crop): 9 x 9 does not lie inside a picture of 5 x 5"
    row, _ = do(tmp_path, noise(5, 5), [["split", "9x1"]])
    assert row["reason"] == "operation 1 (split): a picture 5 pixels wide cannot be cut into 9 columns"
    row, _ = do(tmp_path, noise(100, 5), [["resize", "x60000"]])
    assert row["reason"].startswith("operation 1 (resize): makes a picture of 1200000 x 60000 pixels")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF"])
def test_a_truncated_picture_is_a_reason_and_never_half_a_picture(tmp_path: Path, kind: str) -> None:
    photo = Image.open(real("imagery/photos/cat_1080p.jpg")).convert("RGB").resize((300, 200))
    data = saved(photo, kind)
    row, _ = do(tmp_path, data[: len(data) * 2 // 3], [["split", True]])
    assert (row["status"], row["pieces"]) == ("error", [])
    assert row["code"] in ("damaged", "not_a_picture")
    assert row["reason"]
    assert "/" not in row["reason"].replace("and/or", "")


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    row, _ = do(tmp_path, png(20_000, 20_000, b""), [], max_megapixels=100)
    assert row["code"] == "too_large"
    assert row["reason"] == "it has 20000 x 20000 pixels (400 megapixels), more than the 100 allowed"


def test_what_is_no_picture_is_said(tmp_path: Path) -> None:
    assert do(tmp_path, b"hello", [])[0]["code"] == "not_a_picture"
    assert do(tmp_path, b"", [])[0]["code"] == "empty"


@pytest.mark.parametrize(
    ("output", "every", "more"), [("jpg", 1, []), ("webp", 14, [["sharpen", 1], ["normalise", True], ["contrast", 1.1]])]
)
def test_every_sample_file_ends_as_a_result_or_a_reason(tmp_path: Path, output: str, every: int, more: list[Any]) -> None:
    files = sorted(real("imagery/pillow").iterdir())[::every]
    options = ImagesOptions(operations=[["resize", "60x40"], ["split", "2x1"], ["blur", "gaussian"], *more], output=output)
    codes: dict[str, int] = {}
    for file in files:
        row = laid(file, tmp_path, options)
        assert row["status"] == "ok" or row["reason"], file
        assert len(row["pieces"]) == (2 if row["status"] == "ok" else 0), file
        codes[row["code"] or "ok"] = codes.get(row["code"] or "ok", 0) + 1
    assert codes["ok"] >= 0.8 * len(files)
    assert set(codes) <= {"ok", "damaged", "not_a_picture", "too_large", "unsupported"}


def test_what_pillow_reads_looks_the_same(tmp_path: Path) -> None:
    """Pillow as the judge of what libvips decoded; orientation and profiles apart, which Pillow does not apply."""
    from PIL import ImageOps

    compared = 0
    for file in sorted(real("imagery/pillow").iterdir())[::4]:
        row, made = do(tmp_path, file, [])
        if row["status"] == "error" or row["icc"] or row["bits"] > 8:
            continue
        try:
            judge = np.asarray(ImageOps.exif_transpose(Image.open(file)).convert("RGBA")).astype(int)
        except Exception:  # Pillow cannot read it: nothing to compare with
            continue
        ours = np.asarray(Image.fromarray(made[0]).convert("RGBA")).astype(int)
        assert ours.shape == judge.shape, file.name
        visible = judge[..., 3:] > 0
        assert (np.abs(ours - judge)[..., :3] * visible).mean() < 3, file.name
        compared += 1
    assert compared > 30


@pytest.mark.parametrize("kind", ["RGBA", "16 bits", "grey and alpha"])
@pytest.mark.parametrize("output", ["jpg", "png"])
def test_alpha_and_16_bits_are_streamed_by_libvips_without_a_second_reading(tmp_path: Path, kind: str, output: str) -> None:
    """A stream does not turn back: what asks for pixels twice fails, and only Pillow's fallback hides it."""
    values = np.random.default_rng(1).integers(0, 256, (2500, 40, {"RGBA": 4, "16 bits": 3}.get(kind, 2)), np.uint8)
    image = pyvips.Image.new_from_array(values, interpretation="b-w" if kind == "grey and alpha" else "srgb")
    deep = (image * 257).cast("ushort").copy(interpretation="rgb16") if kind == "16 bits" else image
    deep.write_to_file(str(tmp_path / "source.png"))
    row = laid(tmp_path / "source.png", tmp_path, ImagesOptions(operations=[["resize", "20x1200"]], output=output))
    assert (row["status"], row["engine"]) == ("ok", "vips"), row


@pytest.mark.parametrize("kind", ["srgb", "rgb16", "grey16", "b-w"])
def test_what_is_stored_on_the_way_is_the_same_picture(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    values = np.random.default_rng(2).integers(0, 256, (300, 400, 4 if kind in ("srgb", "rgb16") else 2), np.uint8)
    image = pyvips.Image.new_from_array(values, interpretation="srgb")
    image = (image.cast("ushort") * 257).cast("ushort") if "16" in kind else image
    image = image.copy(interpretation=kind)
    image.set_type(pyvips.GValue.blob_type, "exif-data", b"Exif")
    monkeypatch.setattr("tilery.workloads.images.reading.IN_MEMORY", 0)
    stored = solid(image)
    assert (stored.interpretation, stored.format, stored.hasalpha()) == (kind, image.format, image.hasalpha())
    assert np.array_equal(stored.numpy(), image.numpy())
    assert stored.get("exif-data") == b"Exif"


def test_a_hundred_megapixels_that_must_be_stored_on_the_way_stay_far_below_400_mb(tmp_path: Path) -> None:
    """Through a child, as in production; its peak is measured in a process whose only child it is. What every operation
    takes: `benchmarks.images.memory`."""
    pyvips.Image.xyz(10000, 10000)[0].cast("uchar").copy(interpretation="b-w").jpegsave(str(tmp_path / "big.jpg"))
    code = """
import resource, sys, threading
from pathlib import Path
from tilery.workloads.images.crew import Hand, crew
from tilery.workloads.images.options import ImagesOptions
folder = Path(sys.argv[1])
options = ImagesOptions(operations=[["rotate", 180], ["resize", "20%"], ["split", True], ["blur", "gaussian"]])
with Hand(options, folder, threading.Lock(), crew()) as hand:
    row, _ = hand.make(folder / "big.jpg", "x", folder / "out")
crew().close()
assert row["status"] == "ok" and len(row["pieces"]) == 4, row
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""
    told = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True, cwd=ROOT)
    assert int(told.stdout) < 120  # MiB; the pixels alone are 95
