"""What a file says of itself that neither libvips nor Pillow passes on."""

from __future__ import annotations

from pathlib import Path

_HEAD = 1 << 16
"""Bytes of a file that are looked at."""
_ALPHA = (1, 2)
"""Values of TIFF's ExtraSamples that are an alpha channel; 0 is anything, near infrared for one."""
_EXTRA_SAMPLES = 338
_NOT_READ = (
    ("HEIC", 4, (b"ftypheic", b"ftypheix", b"ftyphevc")),
    ("JPEG XL", 0, (b"\xff\x0a", b"\x00\x00\x00\x0cJXL ")),
    ("JPEG XR", 0, (b"II\xbc",)),
    ("JPEG-LS", 0, (b"\xff\xd8\xff\xf7",)),
    ("OpenEXR", 0, (b"\x76\x2f\x31\x01",)),
    ("Radiance HDR", 0, (b"#?RADIANCE", b"#?RGBE")),
    ("PAM", 0, (b"P7\n",)),
    ("PDF", 0, (b"%PDF",)),
    ("PostScript", 0, (b"%!PS", b"\xc5\xd0\xd3\xc6")),
    ("SVG", 0, (b"<svg", b"<?xml", b"<!DOCTYPE")),
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
    found = (name for name, at, marks in _NOT_READ if (head[at:] if at else text).startswith(marks))
    return next(found, "")


def last_is_alpha(path: Path, page: int) -> bool:
    """Whether the first channel after a TIFF page's colours, and no other, is an alpha; true if its tags cannot be read."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    try:
        with path.open("rb") as file:
            big = file.read(4)[2:] in (b"+\0", b"\0+")
            file.seek(0)
            directory = ImageFileDirectory_v2(file.read(16 if big else 8))
            for _ in range(page + 1):
                file.seek(directory.next)
                directory.load(file)
        extra = directory.get(_EXTRA_SAMPLES, ())
    except Exception:  # a damaged directory may raise anything; libvips has read it
        return True
    said = [one in _ALPHA for one in (extra if isinstance(extra, tuple) else (extra,))]
    return said[:1] == [True] and not any(said[1:])  # some programs call all the others alphas


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
