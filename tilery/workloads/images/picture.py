"""One picture from file to pieces: read, change, write; the answer is a row of the index, whatever happens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyvips

from tilery.workloads.images import pixels
from tilery.workloads.images.operations import Operation, output_format, parse
from tilery.workloads.images.options import ImagesOptions
from tilery.workloads.images.reading import (
    MAX_FRAMES,
    Facts,
    check_size,
    plain_jpeg,
    readable,
    refuse_half,
    upright_srgb,
    with_pillow,
    with_vips,
)
from tilery.workloads.images.refusals import Refused
from tilery.workloads.images.writing import WEBP_SIDE, save

INLINE = 8 * 2**20
"""Bytes of pieces that are handed over in memory."""
LARGE = 16.0
"""Megapixels from which a picture is decoded while no other large one is: this bounds the worker's memory."""


def _at_will() -> None:
    """A large picture may be decoded at any time."""


def settle() -> None:
    """Make libvips frugal and wary: one thread a picture, no cache, no loaders that are not meant for strangers' files."""
    pyvips.cache_set_max(0)
    pyvips.concurrency_set(1)
    pyvips.block_untrusted_set(True)


@dataclass(slots=True)
class Made:
    """What became of a picture."""

    row: dict[str, Any]
    """Of the index: status `ok` or `error` with its code and reason, what the header said, and one entry a piece."""
    inline: dict[str, bytes] = field(default_factory=dict)
    """Small pieces by file name, as far as `INLINE` goes; all others are files in the folder."""
    held: int = 0
    """Bytes of `inline`, counted along: there may be 20,000 pieces."""


@dataclass(frozen=True, slots=True)
class _Task:
    path: Path
    data: bytes | None
    name: str
    folder: Path
    options: ImagesOptions
    operations: list[Operation]
    alone: Callable[[], None]
    made: Made


def make(
    path: Path, name: str, folder: Path, options: ImagesOptions, data: bytes | None = None, alone: Callable[[], None] = _at_will
) -> Made:
    """Do one picture. Its file is at `path`; or its content is `data`, and becomes a file at `path` if the decoder wants one.
    Pieces have names that begin with `name`; `folder` is made if one is to lie in it. `alone` is called before a picture of
    more than `LARGE` megapixels is decoded. Raises nothing but what the machine itself does wrong (a full disk).
    """
    row: dict[str, Any] = {"status": "ok", "code": "", "reason": "", "pieces": []}
    made = Made(row)
    pyvips.vips_lib.vips_error_clear()  # what a picture before left there would be taken for this one's reason
    try:
        row.update(_identity(path, data))
        if not row["bytes"]:
            raise Refused("empty", "it is empty (0 bytes): its upload failed; upload it again")
        task = _Task(path, data, name, folder, options, parse(options.operations), alone, made)
        facts, pieces = _frames(task)
        row.update(asdict(facts), pieces=pieces)
    except Refused as refusal:
        row.update(status="error", code=refusal.code, reason=str(refusal))
        made.inline.clear()
    except MemoryError:
        row.update(status="error", code="too_large", reason="it takes more memory than a picture may use")
        made.inline.clear()
    return made


def _identity(path: Path, data: bytes | None) -> dict[str, Any]:
    if data is not None:
        return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    with path.open("rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "bytes": path.stat().st_size}


def _frames(task: _Task) -> tuple[Facts, list[dict[str, Any]]]:
    facts, pieces = _first(task)
    if facts.frames > 1 and task.options.frames == "first":
        facts.notes.append(f"it has {facts.frames} frames or pages; the first is used")
    if facts.frames > 1 and task.options.frames == "all":
        if facts.frames > MAX_FRAMES:
            raise Refused("too_large", f"it has {facts.frames} frames or pages, more than the {MAX_FRAMES:,} allowed")
        for page in facts.pages[1:] or range(1, facts.frames):
            pieces += _either(task, page)[1]
    return facts, pieces


def _first(task: _Task) -> tuple[Facts, list[dict[str, Any]]]:
    """The first frame: at once where that is possible, else from the file."""
    if task.data is not None:
        plain = None if task.options.metadata == "keep" else plain_jpeg(task.data)
        if plain and _shrink(task.operations, plain[1]) == 1:
            check_size(plain[1].width, plain[1].height, task.options.max_megapixels)
            try:
                return plain[1], _written(pixels.Piece.of_values(plain[0]), plain[1], task, 0)
            except pyvips.Error as error:
                raise _unwritable(task, error) from None
        task.path.write_bytes(task.data)
    return _either(task, 0)


def _either(task: _Task, page: int) -> tuple[Facts, list[dict[str, Any]]]:
    """With libvips; if it cannot read the file or stumbles in the middle, with Pillow."""
    most = task.options.max_megapixels
    try:
        image, facts = with_vips(task.path, most, page=page)
        if facts.width * facts.height > LARGE * 1e6:
            task.alone()
        if facts.format == "jpeg" and (shrink := _shrink(task.operations, facts)) > 1:
            image, facts = with_vips(task.path, most, shrink, page)
        return facts, _written(pixels.Piece.of(upright_srgb(image, facts)), facts, task, page)
    except pyvips.Error as error:
        if page == 0:
            refuse_half(task.path, most)
        image, facts = with_pillow(task.path, most, page, readable(error))
        first = error
    try:
        return facts, _written(pixels.Piece.of(upright_srgb(image, facts)), facts, task, page)
    except pyvips.Error as error:
        raise _unwritable(task, error or first) from None


def _unwritable(task: _Task, error: pyvips.Error) -> Refused:
    return Refused("encode", f"its result cannot be written as {task.options.output}: {readable(error)}")


def _shrink(operations: list[Operation], facts: Facts) -> int:
    """By how much the decoder may shrink a JPEG that the first operation reduces: twice the size is left to resample.

    Only by what divides both sides: the last pixel of others is a part of one, and all would lie a little off.
    """
    upright = (facts.height, facts.width) if facts.orientation > 4 else (facts.width, facts.height)
    reduction = pixels.first_reduction(operations, *upright)
    return next((by for by in (8, 4, 2) if 2 * by <= reduction and facts.width % by == facts.height % by == 0), 1)


def _written(whole: pixels.Piece, facts: Facts, task: _Task, page: int) -> list[dict[str, Any]]:
    options = task.options
    output = output_format(task.operations, options.output)
    frame = f"f{page + 1:04d}" if facts.frames > 1 and options.frames == "all" else ""
    entries = []
    for piece in pixels.apply(whole, task.operations, options.max_megapixels):
        side = max(piece.width, piece.height)
        if output == "webp" and side > WEBP_SIDE:
            raise Refused("encode", f"a result of {side:,} pixels does not fit webp (at most {WEBP_SIDE:,} a side)")
        label = "_".join(part for part in (frame, piece.label) if part)
        file = f"{task.name}__{label}.{output}" if label else f"{task.name}.{output}"
        saved = save(piece, task.folder / file, output, options.quality, options.background, options.metadata == "keep")
        if saved.data is not None:
            _keep(task, file, saved.data)
        entries.append(
            {"file": file, "width": piece.width, "height": piece.height, "bytes": saved.size, "sha256": saved.sha256}
        )
    return entries


def _keep(task: _Task, file: str, data: bytes) -> None:
    made = task.made
    if made.held + len(data) <= INLINE:
        made.held += len(data) - len(made.inline.get(file, b""))
        made.inline[file] = data
    else:
        made.held -= len(made.inline.pop(file, b""))
        task.folder.mkdir(exist_ok=True)
        (task.folder / file).write_bytes(data)
