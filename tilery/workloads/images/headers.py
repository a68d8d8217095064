"""What a file says of itself that neither libvips nor Pillow passes on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

Tags = dict[int, Any]
"""Some tags of a TIFF page, by number."""
MOST_PAGES = 1000
"""Pages of one file that are looked at; more are not done anyway."""
_HEAD = 1 << 16
"""Bytes of a file that are looked at."""
_ALPHA = (1, 2)
"""Values of TIFF's ExtraSamples that are an alpha channel; 0 is anything, near infrared for one."""
_EXTRA_SAMPLES = 338
_TILES, _TILE_BYTES = 324, 325
END = 0
"""No tag of TIFF: of a page, the byte where its last tile and its tags end."""
_SUBFILE, _PHOTOMETRIC, _SUB_DIRECTORIES, _DNG_VERSION = 254, 262, 330, 50706
_TAGS = (_EXTRA_SAMPLES, _SUBFILE, _PHOTOMETRIC, _SUB_DIRECTORIES, _DNG_VERSION)
_REDUCED, _MASK = 1, 4
"""Bits of TIFF's NewSubfileType: a page that is another one made smaller, or its mask."""
_OF_SENSOR = (32803, 34892)
"""Values of TIFF's PhotometricInterpretation: what a sensor saw, mosaic or linear. TIFF/EP, DNG 1.7."""
_RAW = "the raw file of a camera"
_HEVC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"})
_NOT_READ = (
    (_RAW, 4, (b"ftypcrx",)),
    (_RAW, 8, (b"CR\2\0",)),
    (_RAW, 0, (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"FOVb", b"\0MRM")),
    ("JPEG XL", 0, (b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")),
    ("JPEG XR", 0, (b"II\xbc",)),
    ("JPEG-LS", 0, (b"\xff\xd8\xff\xf7",)),
    ("OpenEXR", 0, (b"\x76\x2f\x31\x01",)),
    ("Radiance HDR", 0, (b"#?RADIANCE", b"#?RGBE")),
    ("PAM", 0, (b"P7\n",)),
    ("PDF", 0, (b"%PDF",)),
    ("PostScript", 0, (b"%!PS", b"\xc5\xd0\xd3\xc6")),
    ("SVG", 0, (b"<svg",)),
    ("a ZIP archive", 0, (b"PK\x03\x04",)),
    ("a video", 4, (b"ftypisom", b"ftypiso2", b"ftypmp4", b"ftypqt", b"ftypM4V", b"moov")),
)


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_HEAD)


def not_read(path: Path) -> str:
    """The name of the format, if it is a known one that is not read; else nothing."""
    head = _head(path)
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t")
    if head[4:8] == b"ftyp" and not _HEVC_BRANDS.isdisjoint(_brands(head)):
        return "HEIC"
    if text.startswith((b"<?xml", b"<!DOCTYPE", b"<!--")):
        return "SVG" if b"<svg" in head else ""
    found = (name for name, at, marks in _NOT_READ if (head[at:] if at else text).startswith(marks))
    return next(found, "")


def _brands(head: bytes) -> Iterator[bytes]:
    """What a file of the ISO kind says that it holds: its major brand and those it is compatible with."""
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return (head[at : at + 4] for at in (8, *range(16, end, 4)))


def tiff_pages(path: Path) -> list[Tags]:
    """The tags of each page of a TIFF, as far as they can be read."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    pages: list[Tags] = []
    with suppress(Exception), path.open("rb") as file:  # a damaged directory may raise anything; libvips has read it
        first = file.read(4)
        big = first[2:] in (b"+\0", b"\0+")
        order: Literal["little", "big"] = "little" if first[:2] == b"II" else "big"
        file.seek(0)
        directory = ImageFileDirectory_v2(file.read(16 if big else 8))
        seen = {0}
        while directory.next not in seen and len(pages) <= MOST_PAGES:
            seen.add(start := directory.next)
            file.seek(start)
            count = int.from_bytes(file.read(8 if big else 2), order)
            pages.append({END: start + (16 + 20 * count if big else 6 + 12 * count)})
            file.seek(start)
            directory.load(file)
            pages[-1].update({tag: directory.get(tag) for tag in _TAGS if tag in directory})
            pages[-1][END] = max(_end(directory), pages[-1][END])
    return pages


def _end(directory: Any) -> int:
    """Where the last tile of a page ends; 0 if it has none."""
    sizes = zip(directory.get(_TILES, ()), directory.get(_TILE_BYTES, ()), strict=False)
    return max((start + size for start, size in sizes), default=0)


def is_raw(pages: list[Tags]) -> bool:
    """Whether a TIFF is a camera's: its first page is a preview, or what the sensor saw."""
    first = pages[0] if pages else {}
    preview = bool(_number(first, _SUBFILE) & _REDUCED) and _SUB_DIRECTORIES in first
    return preview or _DNG_VERSION in first or _number(first, _PHOTOMETRIC) in _OF_SENSOR


def frames_of(pages: list[Tags]) -> list[int]:
    """The numbers of the pages that are pictures of their own: the first, and all that are not made of another."""
    return [at for at, tags in enumerate(pages) if not at or not _number(tags, _SUBFILE) & (_REDUCED | _MASK)]


def last_is_alpha(tags: Tags) -> bool:
    """Whether the first channel after a TIFF page's colours, and no other, is an alpha."""
    extra = tags.get(_EXTRA_SAMPLES, ())
    said = [one in _ALPHA for one in (extra if isinstance(extra, tuple) else (extra,))]
    return said[:1] == [True] and not any(said[1:])  # some programs call all the others alphas


def _number(tags: Tags, tag: int) -> int:
    value = tags.get(tag, 0)
    return value if isinstance(value, int) else 0


def frames(path: Path) -> int:
    """Of an animated PNG, of which libvips knows the first only; 1 of any other."""
    if b"acTL" not in _head(path):
        return 1
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as opened:
            return int(getattr(opened, "n_frames", 1))
    except Exception:  # whatever is wrong with its animation, it is a picture
        return 1


def jpeg2000_bits(path: Path) -> int:
    """Bits of the first colour of a JPEG 2000 picture; 8 if it is not said where it should be. ISO 15444-1, A.5.1."""
    head = _head(path)
    at = head.find(b"\xff\x4f\xff\x51")
    size = head[at + 42 : at + 43]
    return (size[0] & 0x7F) + 1 if at >= 0 and size else 8
