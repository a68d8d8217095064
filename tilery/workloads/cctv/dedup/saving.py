"""What storing the frames of a segment once comes to: measured on samples, or done."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tilery.run import Source
from tilery.workload import Item, Work
from tilery.workloads.cctv.clips import BLOCK_US, Clip
from tilery.workloads.cctv.decode import decode, still
from tilery.workloads.cctv.dedup.jpegs import JpegEncoder, available
from tilery.workloads.cctv.dedup.kept import RUN_FRAMES, keep, keep_jpegs
from tilery.workloads.cctv.dedup.packs import Packs, prefix
from tilery.workloads.cctv.dedup.tiles import Encoded, Encoder, Pixels
from tilery.workloads.cctv.options import CctvOptions

SAMPLED = 3
"""Frames that are encoded to say what storing would come to: a base and two changes."""
SAMPLED_FILES = 16
EVERY = 60
"""Blocks from one sample to the next of a video, and of a folder a tenth of it: video never gains."""
LOSSLESS = ("rawvideo", "huffyuv", "ffv1")
"""Video whose samples are worth storing; of other codecs the source is always smaller."""
_DEEP_PNG = "16 bits a sample, or transparency: only the file holds all of it"
_HOLES = "a frame cannot be decoded: only the file holds all of it"
_DEEP = "more than 8 bits a sample, or an unusual layout of them: only the file holds all of it"
_NO_LIBRARY = "jpeglib is not installed: JPEG files stay as they are"


class _Unkept(Exception):
    """A stretch has a frame that cannot be stored; why."""


def segment(work: Work[CctvOptions], item: Item) -> dict[str, Any] | None:
    """The segment's part of the report; with the option `dedup=store`, its frames are in the store afterwards.

    None where nothing is asked for. Depends on the blocks of the segment, not on where it was cut.
    """
    if work.options.dedup == "off":
        return None
    clip = Clip.of(work.run.facts["clips"][item["clip"]])
    blocks = range(item["first_block"], item["first_block"] + item["blocks"])
    if work.options.dedup == "store" and (clip.kind == "frames" or clip.codec in LOSSLESS):
        packs = Packs(work.store, prefix(work.run.tenant))
        lines = [line for block in blocks if (line := _stored(work, clip, packs, item["clip"], block))]
        return {"measured": "stored", **_summed(lines), "lines": lines}
    every = EVERY if clip.kind == "video" else EVERY // 10
    lines = [line for block in blocks if block % every == 0 and (line := _sampled(work, clip, block))]
    whole = sum(_source_bytes(work, clip, block) for block in blocks)
    return {"measured": "sampled", "segment_bytes": whole, **_summed(lines), "lines": lines}


def report(parts: Sequence[dict[str, Any] | None]) -> dict[str, Any]:
    """The product `dedup`, as far as frames go: what segments said, joined."""
    told = [part for part in parts if part]
    lines = [line for part in told for line in part["lines"]]
    total = _summed(lines)
    gained = total["source_bytes"] - total["chosen_bytes"]
    stored = sum(line["kept"] == "store" for line in lines)
    how = "stored" if any(part["measured"] == "stored" for part in told) else "sampled"
    if not lines:
        sentence = "No frames were compared."
    elif all(line["why"] in (_DEEP_PNG, _DEEP, _HOLES, _NO_LIBRARY) for line in lines):
        sentence = "Frames are kept as their source alone: " + "; ".join(dict.fromkeys(line["why"] for line in lines)) + "."
    elif not stored:
        sentence = (
            f"Nothing is gained by storing frames apart: they would take {_times(total)} the bytes of their source, "
            "which therefore is what is kept."
        )
    else:
        share = gained / total["source_bytes"] if total["source_bytes"] else 0
        sentence = (
            f"{stored} of {len(lines)} stretches are smaller in the frame store, the others as their source; "
            f"{'together that saves' if how == 'stored' else 'storing all would save about'} {share:.0%}."
        )
    return {"how": how, "sentence": sentence, **total, "gained_bytes": gained, "stretches": lines}


def _times(total: dict[str, Any]) -> str:
    return f"{total['stored_bytes'] / max(1, total['source_bytes']):.1f} times"


def _stored(work: Work[CctvOptions], clip: Clip, packs: Packs, number: int, block: int) -> dict[str, Any] | None:
    """Store one block."""
    try:
        return _stored_whole(work, clip, packs, number, block)
    except _Unkept as reason:
        return _line(block, _left(0, _source_bytes(work, clip, block), str(reason)))


def _stored_whole(work: Work[CctvOptions], clip: Clip, packs: Packs, number: int, block: int) -> dict[str, Any] | None:
    error = work.options.dedup_error
    name = f"{work.run.fingerprint[:32]}/e{error}/c{number:03d}-b{block:06d}"
    source_bytes = _source_bytes(work, clip, block)
    if clip.kind == "video":
        about: dict[str, Any] = {"layout": "", "times_us": []}
        kept = keep(packs, name, _samples(work, clip, block, about), source_bytes, error=error, about=about)
        return _line(block, kept.json())
    sources = _sources(work, clip, block)
    if not sources:
        return None
    about = {"names": [source.name for source in sources]}
    if clip.codec == "png":
        if any(_deep(work, source) for source in sources):
            return _line(block, _left(len(sources), source_bytes, _DEEP_PNG))
        kept = keep(packs, name, _pictures(work, clip, sources), source_bytes, error=error, about=about)
    elif available():
        kept = keep_jpegs(packs, name, _files(work, sources), source_bytes, about=about)
    else:
        return _line(block, _left(len(sources), source_bytes, _NO_LIBRARY))
    return _line(block, kept.json())


def _sampled(work: Work[CctvOptions], clip: Clip, block: int) -> dict[str, Any] | None:
    """What a block would come to, from its first frames."""
    if clip.kind == "video":
        frames = _samples(work, clip, block, {"times_us": []})
        rate = clip.rate[0] / clip.rate[1]
        count, source_bytes = max(1, round(BLOCK_US / 1e6 * rate)), _source_bytes(work, clip, block)
    else:
        sources = _sources(work, clip, block)
        if not sources:
            return None
        count, source_bytes = len(sources), sum(source.size for source in sources)
        if clip.codec == "mjpeg":
            if not available():
                return _line(block, _left(count, source_bytes, _NO_LIBRARY))
            return _line(block, _files_sampled(work, sources, source_bytes))
        frames = _pictures(work, clip, sources[:SAMPLED])
    encoder = Encoder(work.options.dedup_error)
    try:
        for frame in islice(frames, SAMPLED):
            encoder.add(frame)
    except _Unkept as reason:
        if not encoder.frames:
            return _line(block, _left(0, source_bytes, str(reason)))
    return _line(block, _foretold(encoder.finish(), count, source_bytes)) if encoder.frames else None


def _files_sampled(work: Work[CctvOptions], sources: Sequence[Source], source_bytes: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="tilery-") as scratch:
        encoder = JpegEncoder(Path(scratch))
        for data in _files(work, sources[:SAMPLED_FILES]):
            encoder.add(data)
        return _foretold(encoder.finish(), len(sources), source_bytes)


def _foretold(encoded: Encoded, frames: int, source_bytes: int) -> dict[str, Any]:
    """Of `frames` like these: a base in each run, a change for each of the others."""
    bases = -(-frames // RUN_FRAMES)
    change = len(encoded.changes) / max(1, encoded.frames - 1)
    stored = round(bases * len(encoded.base) + (frames - bases) * change)
    smaller = stored < source_bytes
    why = f"the store would take {stored / source_bytes:.0%} of it" if smaller else "the source is smaller"
    return {
        "kept": "store" if smaller else "source",
        "why": why,
        "frames": frames,
        "source_bytes": source_bytes,
        "stored_bytes": stored,
        "changed_tiles": round(encoded.changed / encoded.tiles, 4) if encoded.tiles else 0.0,
    }


def _left(frames: int, source_bytes: int, why: str) -> dict[str, Any]:
    return {"kept": "source", "why": why, "frames": frames, "source_bytes": source_bytes, "stored_bytes": source_bytes}


def _line(block: int, told: dict[str, Any]) -> dict[str, Any]:
    chosen = told["stored_bytes"] if told["kept"] == "store" else told["source_bytes"]
    return {**told, "start_s": block * BLOCK_US // 1_000_000, "chosen_bytes": chosen}


def _summed(lines: Iterable[dict[str, Any]]) -> dict[str, int]:
    found = list(lines)
    names = ("frames", "source_bytes", "stored_bytes", "chosen_bytes")
    return {name: sum(int(line[name]) for line in found) for name in names}


def _source_bytes(work: Work[CctvOptions], clip: Clip, block: int) -> int:
    """Bytes of the source that hold a block: exact for a folder, by the share of time for a video."""
    if clip.kind == "frames":
        return sum(source.size for source in _sources(work, clip, block))
    span = min(clip.duration_us, (block + 1) * BLOCK_US) - block * BLOCK_US
    return max(1, clip.bytes * max(0, span) // clip.duration_us)


def _sources(work: Work[CctvOptions], clip: Clip, block: int) -> list[Source]:
    numbers = range(clip.frame_at(block * BLOCK_US), min(len(clip.sources), clip.frame_at((block + 1) * BLOCK_US)))
    return [work.run.sources[clip.sources[number]] for number in numbers]


def _samples(work: Work[CctvOptions], clip: Clip, block: int, about: dict[str, Any]) -> Iterator[Pixels]:
    """The decoded samples of a block of video, in the video's own format; `about` learns which, and the times."""
    for picture in decode(work.store, work.run, clip, block * BLOCK_US, (block + 1) * BLOCK_US):
        if picture.damaged:
            raise _Unkept(_HOLES)
        if (samples := picture.samples()) is None:
            raise _Unkept(_DEEP)
        about["layout"] = picture.layout
        about["times_us"].append(picture.clip_us)
        yield samples


def _pictures(work: Work[CctvOptions], clip: Clip, sources: Iterable[Source]) -> Iterator[Pixels]:
    for data in _files(work, sources):
        if (pixels := still(data, clip.width, clip.height)) is None:
            raise _Unkept(_HOLES)
        yield pixels


def _files(work: Work[CctvOptions], sources: Iterable[Source]) -> Iterator[bytes]:
    return (work.store.get(source.key, version=source.version) for source in sources)


def _deep(work: Work[CctvOptions], source: Source) -> bool:
    """Whether a PNG file holds more than 8 bits of gray or of colour (PNG specification, IHDR)."""
    head = work.store.get_range(source.key, 24, 26, version=source.version)
    return len(head) < 2 or head[0] != 8 or head[1] not in (0, 2)
