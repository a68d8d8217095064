"""One picture from file to pieces: read, change, write; the answer is a row of the index, whatever happens."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyvips

from tilery.workloads.images import pixels
from tilery.workloads.images.operations import Operation, output_format, parse
from tilery.workloads.images.options import ImagesOptions
from tilery.workloads.images.reading import (
    MAX_FRAMES,
    Facts,
    readable,
    upright_srgb,
    with_pillow,
    with_vips,
)
from tilery.workloads.images.refusals import Refused
from tilery.workloads.images.writing import WEBP_SIDE, save


def settle() -> None:
    """Make libvips frugal and wary: one thread a picture, no cache, no loaders that are not meant for strangers' files."""
    pyvips.cache_set_max(0)
    pyvips.concurrency_set(1)
    pyvips.block_untrusted_set(True)


def make(path: Path, name: str, folder: Path, options: ImagesOptions) -> dict[str, Any]:
    """Do one picture. Pieces go to `folder`; `name` is the beginning of their names. Returns the row of the index:
    status `ok` or `error` with its code and reason, what the header said, and one entry a piece. Raises nothing but
    what the machine itself does wrong (a full disk)."""
    row: dict[str, Any] = {"status": "ok", "code": "", "reason": "", "pieces": []}
    row["sha256"], row["bytes"] = _digest(path), path.stat().st_size
    try:
        if not row["bytes"]:
            raise Refused("empty", "it is empty (0 bytes): its upload failed; upload it again")
        facts, pieces = _frames(path, name, folder, options)
        row.update(asdict(facts), pieces=pieces)
    except Refused as refusal:
        row.update(status="error", code=refusal.code, reason=str(refusal))
    return row


def _frames(path: Path, name: str, folder: Path, options: ImagesOptions) -> tuple[Facts, list[dict[str, Any]]]:
    operations = parse(options.operations)
    facts, pieces = _either(path, name, folder, options, operations, 0)
    if facts.frames > 1 and options.frames == "first":
        facts.notes.append(f"it has {facts.frames} frames or pages; the first is used")
    if facts.frames > 1 and options.frames == "all":
        if facts.frames > MAX_FRAMES:
            raise Refused("too_large", f"it has {facts.frames} frames or pages, more than the {MAX_FRAMES:,} allowed")
        for page in range(1, facts.frames):
            pieces += _either(path, name, folder, options, operations, page)[1]
    return facts, pieces


def _either(
    path: Path, name: str, folder: Path, options: ImagesOptions, operations: list[Operation], page: int
) -> tuple[Facts, list[dict[str, Any]]]:
    """With libvips; if it cannot read the file or stumbles in the middle, with Pillow."""
    try:
        image, facts = with_vips(path, options.max_megapixels, page=page)
        reduction = pixels.first_reduction(operations, *_upright_size(facts))
        if facts.format == "jpeg" and reduction >= 4:
            shrink = min(8, 2 ** int(math.log2(reduction / 2)))
            image, facts = with_vips(path, options.max_megapixels, shrink, page)
        return facts, _written(image, facts, name, folder, options, operations, page)
    except pyvips.Error as error:
        image, facts = with_pillow(path, options.max_megapixels, page)
        first = error
    try:
        return facts, _written(image, facts, name, folder, options, operations, page)
    except pyvips.Error as error:
        raise Refused("encode", f"its result cannot be written as {options.output}: {readable(error or first)}") from None


def _upright_size(facts: Facts) -> tuple[int, int]:
    return (facts.height, facts.width) if facts.orientation > 4 else (facts.width, facts.height)


def _written(
    image: pyvips.Image,
    facts: Facts,
    name: str,
    folder: Path,
    options: ImagesOptions,
    operations: list[Operation],
    page: int,
) -> list[dict[str, Any]]:
    output = output_format(operations, options.output)
    frame = f"f{page + 1:04d}" if facts.frames > 1 and options.frames == "all" else ""
    made = []
    for piece in pixels.apply(upright_srgb(image, facts), operations, options.max_megapixels):
        side = max(piece.width, piece.height)
        if output == "webp" and side > WEBP_SIDE:
            raise Refused("encode", f"a result of {side:,} pixels does not fit webp (at most {WEBP_SIDE:,} a side)")
        label = "_".join(part for part in (frame, piece.label) if part)
        file = f"{name}__{label}.{output}" if label else f"{name}.{output}"
        saved = save(piece, folder / file, output, options.quality, options.background, options.metadata == "keep")
        made.append(
            {
                "file": file,
                "width": piece.width,
                "height": piece.height,
                "bytes": saved.bytes,
                "sha256": saved.sha256,
            }
        )
    return made


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
