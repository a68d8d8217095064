"""JPEG and PNG files from the outside: how large they are, and whether they are whole."""

from __future__ import annotations

HEAD = 64 << 10
"""Bytes in which the size of a picture is looked for."""
_PNG = b"\x89PNG\r\n\x1a\n"
_NO_FRAME = {0xC4, 0xC8, 0xCC}
"""Between SOF0 and SOF15, but not frames (ITU-T T.81 table B.1)."""


def dimensions(head: bytes) -> tuple[int, int] | None:
    """Width and height that the header states, before any turning; None if this is neither, or it does not say so soon."""
    if head[:8] == _PNG and head[12:16] == b"IHDR":
        return int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if head[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 < len(head) and head[at] == 0xFF:
        marker = head[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME:
            return int.from_bytes(head[at + 7 : at + 9], "big"), int.from_bytes(head[at + 5 : at + 7], "big")
        at += 2 + int.from_bytes(head[at + 2 : at + 4], "big")
    return None


def ends(data: bytes) -> bool:
    """Whether the file has its end: decoders fill the rest of a cut picture with gray."""
    return b"IEND" in data[-64:] if data[:8] == _PNG else b"\xff\xd9" in data[-4096:]
