"""Stretches of frames in the store: each as runs of frames, or left where its source lies when that is smaller."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from math import log10
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np

from tilery.workloads.cctv.dedup.jpegs import JpegEncoder, unpacked
from tilery.workloads.cctv.dedup.packs import Damaged, Packs, Writer, read_recipe
from tilery.workloads.cctv.dedup.tiles import Encoded, Encoder, NotFrames, Pixels, decoded

RUN_FRAMES = 64
"""Frames of a run, at most: one of them can be read after so many."""
RUN_BYTES = 16 << 20
"""A run is ended when it has so many."""

F = TypeVar("F", contravariant=True)
Kind = Literal["pixels", "jpeg"]
About = Mapping[str, Any]
"""What frames were, for `restore`: their `names`, or the `layout` and `times_us` of a video, complete once all are taken."""
NOTHING: About = {}


class TakesFrames(Protocol[F]):
    @property
    def size(self) -> int: ...
    @property
    def frames(self) -> int: ...
    def add(self, frame: F) -> None: ...
    def finish(self) -> Encoded: ...


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a stretch; a line of the report."""

    name: str
    kept: Literal["source", "store"]
    why: str
    frames: int
    source_bytes: int
    stored_bytes: int
    """What it takes, or would have taken: until it was larger than the source."""
    added_bytes: int
    """Of these, what was not in the store already."""
    error: int
    """Asked for."""
    largest_error: int
    psnr_db: float | None
    """None: no error at all."""
    changed_tiles: float
    """Share of tiles that changed from one frame to the next."""

    def json(self) -> dict[str, Any]:
        return asdict(self)


def keep(
    packs: Packs, name: str, frames: Iterable[Pixels], source_bytes: int, *, error: int = 0, about: About = NOTHING
) -> Kept:
    """Store frames under `name`, within `error`, unless that takes more than their source. Idempotent."""
    return _keep(packs, name, "pixels", frames, source_bytes, about, error, lambda: Encoder(error))


def keep_jpegs(packs: Packs, name: str, files: Iterable[bytes], source_bytes: int, *, about: About = NOTHING) -> Kept:
    """Store JPEG files bit for bit under `name`, unless that takes more than the files."""
    with tempfile.TemporaryDirectory(prefix="tilery-") as scratch:
        return _keep(packs, name, "jpeg", files, source_bytes, about, 0, lambda: JpegEncoder(Path(scratch)))


def frames_of(packs: Packs, name: str) -> Iterator[Pixels]:
    """The frames kept under `name`, each run verified before its first frame is given. Raises `Damaged`."""
    for run in _runs(packs, name, "pixels"):
        frames = _verified(run, lambda base, changes: decoded(base, changes), packs)
        yield from frames


def files_of(packs: Packs, name: str) -> Iterator[bytes]:
    """The JPEG files kept under `name`, bit for bit."""
    with tempfile.TemporaryDirectory(prefix="tilery-") as scratch:
        for run in _runs(packs, name, "jpeg"):
            yield from _verified(run, lambda base, changes: unpacked(base, changes, Path(scratch)), packs)


def forget(packs: Packs, name: str) -> None:
    """Keep it no longer; `collect` then frees what nothing else needs."""
    packs.store.delete([packs.key("recipes", f"{name}.json")])


def _keep(
    packs: Packs,
    name: str,
    kind: Kind,
    frames: Iterable[F],
    source_bytes: int,
    about: About,
    error: int,
    encoder: Callable[[], TakesFrames[F]],
) -> Kept:
    encoded: list[Encoded] = []
    blobs: list[str] = []
    stored = 0
    with Writer(packs) as writer:
        for run in _encoded(frames, encoder):
            encoded.append(run)
            stored += len(run.base) + len(run.changes)
            if stored >= source_bytes:
                writer.discard()
                return _told(name, "source", encoded, source_bytes, stored, 0, error)
            blobs += [writer.add(run.base), writer.add(run.changes)]
        runs = [
            {"frames": run.frames, "base": base, "changes": changes, "sha256": run.sha256}
            for run, base, changes in zip(encoded, blobs[::2], blobs[1::2], strict=True)
        ]
        kept = _told(name, "store", encoded, source_bytes, stored, writer.added, error)
        recipe = {"schema": 1, "kind": kind, "error": error, "about": dict(about), "runs": runs, "blobs": sorted(set(blobs))}
        writer.keep(name, recipe)
    return kept


def _encoded(frames: Iterable[F], encoder: Callable[[], TakesFrames[F]]) -> Iterator[Encoded]:
    run = encoder()
    for frame in frames:
        run.add(frame)
        if run.frames >= RUN_FRAMES or run.size >= RUN_BYTES:
            yield run.finish()
            run = encoder()
    if run.frames:
        yield run.finish()


def _told(
    name: str, kept: Literal["source", "store"], runs: list[Encoded], source: int, stored: int, added: int, error: int
) -> Kept:
    samples, squared = sum(run.samples for run in runs), sum(run.squared_error for run in runs)
    tiles = sum(run.tiles for run in runs)
    why = f"the store takes {stored / source:.0%} of it" if kept == "store" and source else "the source is smaller"
    return Kept(
        name=name,
        kept=kept,
        why=why,
        frames=sum(run.frames for run in runs),
        source_bytes=source,
        stored_bytes=stored,
        added_bytes=added,
        error=error,
        largest_error=max((run.largest_error for run in runs), default=0),
        psnr_db=round(10 * log10(255**2 * samples / squared), 2) if squared else None,
        changed_tiles=round(sum(run.changed for run in runs) / tiles, 4) if tiles else 0.0,
    )


def _runs(packs: Packs, name: str, kind: Kind) -> list[dict[str, Any]]:
    recipe = read_recipe(packs, name)
    if recipe["kind"] != kind:
        raise ValueError(f"{name} holds {recipe['kind']}, not {kind}")
    if any(digest not in packs.places for digest in recipe["blobs"]):
        packs.refresh()
    runs: list[dict[str, Any]] = recipe["runs"]
    return runs


T = TypeVar("T", Pixels, bytes)


def _verified(run: dict[str, Any], decode: Callable[[bytes, bytes], Iterator[T]], packs: Packs) -> Iterator[T]:
    """The frames of a run. They are decoded twice rather than held: once for the digest, once for the reader."""
    base, changes = packs.get(run["base"]), packs.get(run["changes"])
    digest = hashlib.sha256()
    try:
        for frame in decode(base, changes):
            digest.update(frame if isinstance(frame, bytes) else np.ascontiguousarray(frame).data)
    except NotFrames as error:
        raise Damaged(str(error)) from error
    if digest.hexdigest() != run["sha256"]:
        raise Damaged(f"the frames of a run below {packs.prefix} are not what they were")
    return decode(base, changes)
