"""The first step: what the clips are, where they lie on one timeline, and the segments that are worked on apart."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import Any

from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.store.port import Store
from tilery.workload import Item, Sizing
from tilery.workloads.cctv.clips import BLOCK_US
from tilery.workloads.cctv.limits import MOST_CLIPS
from tilery.workloads.cctv.options import CctvOptions
from tilery.workloads.cctv.probe import Probed, probe

VIDEO = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts")
WARMUP_US = 4_000_000
"""How much before a segment decoding begins; as in `segment`."""
BASE_MIB = 600


def size(sources: list[Source], options: CctvOptions, store: Store) -> Sizing:
    """Plan a run. Raises `BadInput` naming the file that is no video, too large, or of another size than the others."""
    videos = [place for place, source in enumerate(sources) if source.name.lower().endswith(VIDEO)]
    if not videos:
        raise BadInput("the drop holds no video; give MP4, MOV, MKV, AVI or TS files, or a folder of JPEG or PNG frames")
    if len(videos) > MOST_CLIPS:
        raise BadInput(f"the drop holds {len(videos)} clips, more than {MOST_CLIPS}; join them or drop them apart")
    probed = [probe(store, sources[place], place, options.max_megapixels * 1e6) for place in videos]
    items = [item for number, found in enumerate(probed) for item in segments(number, found, options.segment_s)]
    clips = [found.clip for found in probed]
    warnings = [warning for clip in clips for warning in clip.warnings]
    width, height = clips[0].width, clips[0].height
    counts: dict[str, Any] = {
        "clips": len(clips),
        "frames": sum(clip.frames for clip in clips),
        "seconds": round(sum(clip.duration_us - clip.skip_us for clip in clips) / 1e6, 3),
        "input_bytes": sum(clip.bytes for clip in clips),
    }
    facts = {"clips": [clip.json() for clip in clips], "start": None, "frame_size": [width, height]}
    memory = BASE_MIB + width * height * 1.5 * 40 / 2**20
    return Sizing(sum(item["work"] for item in items), items, counts, facts, warnings, memory)


def segments(number: int, found: Probed, segment_s: float) -> list[Item]:
    """The units of work of clip `number`: runs of whole blocks, the last one open to the end."""
    clip = found.clip
    blocks = max(1, -(-clip.duration_us // BLOCK_US))
    first = min(clip.skip_us // BLOCK_US, blocks - 1)
    each = max(1, round(segment_s * 1e6 / BLOCK_US))
    cuts = [*range(first, blocks, each), blocks]
    return [_item(number, index, found, start, stop) for index, (start, stop) in enumerate(pairwise(cuts))]


def _item(number: int, index: int, found: Probed, start: int, stop: int) -> Item:
    clip = found.clip
    start_us, stop_us = start * BLOCK_US, min(stop * BLOCK_US, clip.duration_us)
    last = stop * BLOCK_US >= clip.duration_us
    return {
        "id": f"c{number:03d}-s{index:04d}",
        "work": max(1.0, float((stop_us - max(start_us, clip.skip_us)) * clip.hz / 1_000_000)),
        "clip": number,
        "file": clip.sources[0],
        "first_block": start,
        "blocks": stop - start,
        "start_us": start_us,
        "stop_us": None if last else stop * BLOCK_US,
        "decode_from": _key_before(found, start_us - WARMUP_US),
    }


def _key_before(found: Probed, time_us: int) -> int | None:
    """The time in the index (units of the clip's time base) of the key frame at or before this moment."""
    place = bisect_right(found.keys_us, time_us)
    return found.clip.pts_at(found.keys_us[place - 1] + 1) if place else None
