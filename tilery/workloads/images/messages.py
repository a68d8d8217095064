"""What the worker and a child say to each other: a JSON object and pieces of raw bytes, over a stream socket.

A message is the length of its JSON (4 bytes), the JSON, and the blobs that it lists the sizes of.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

_LENGTH = struct.Struct("<I")
Message = tuple[dict[str, Any], list[bytes]]


def send(to: socket.socket, about: dict[str, Any], blobs: Sequence[bytes] = ()) -> None:
    """One message. Raises `OSError` if nobody listens any more."""
    text = json.dumps({**about, "blobs": [len(blob) for blob in blobs]}).encode()
    to.sendall(b"".join([_LENGTH.pack(len(text)), text, *blobs]))


def receive(source: socket.socket, until: float | None = None) -> Message | None:
    """The next message; None if the other side has gone. Raises `TimeoutError` at `until` (of `time.monotonic`)."""
    length = _read(source, _LENGTH.size, until)
    text = _read(source, _LENGTH.unpack(length)[0], until) if length else None
    if text is None:
        return None
    about = json.loads(text)
    blobs: list[bytes] = []
    for size in about.pop("blobs"):
        blob = _read(source, size, until)
        if blob is None:
            return None
        blobs.append(bytes(blob))
    return about, blobs


def _read(source: socket.socket, size: int, until: float | None) -> bytearray | None:
    data, got = bytearray(size), 0
    view = memoryview(data)
    while got < size:
        if until is not None:
            source.settimeout(max(until - time.monotonic(), 1e-6))
        count = source.recv_into(view[got:])
        if not count:
            return None
        got += count
    return data
