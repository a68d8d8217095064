"""The first step: what the clips are, where they lie on one timeline, and the segments that are worked on apart."""

from __future__ import annotations

from bisect import bisect_right
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from math import inf
from typing import Any

from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.store.port import Store
from tilery.workload import Item, Sizing
from tilery.workloads.cctv.clips import BLOCK_US, Clip
from tilery.workloads.cctv.limits import MOST_CLIPS, MOST_DAYS
from tilery.workloads.cctv.options import CctvOptions
from tilery.workloads.cctv.probe import Probed, probe
from tilery.workloads.cctv.probe_folder import STATED, probe_folder, stated_hz
from tilery.workloads.cctv.timeline import placed, zone_of

VIDEO = (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts")
WARMUP_US = 4_000_000
"""How much before a segment decoding begins; as in `segment`."""
BASE_MIB = 600
PICTURES = 40
"""Decoded pictures (4:2:0) that are in memory at once: the decoder's, the detector's, and those of the warm-up."""
PICTURES_OF = (".jpg", ".jpeg", ".png")
PROBED_AT_ONCE = 8
LEAD_SHARE = 0.5
"""A segment begins where it can if at most this share of the one before is decoded again for it."""
LEAST_LEAD_US = 20_000_000
"""Longest distance of key frames that no setting of a camera goes beyond."""


def size(sources: list[Source], options: CctvOptions, store: Store) -> Sizing:
    """Plan a run. Raises `BadInput` naming the file that is no video, too large, or of another size than the others."""
    found, warnings = _found(sources, options, store)
    _check_one_camera(found)
    zone = zone_of(options.zone)
    ordered, start, told = placed(found, options.start, zone, options.gap_s)
    clips = [each.clip for each in ordered]
    _check_length(clips, options)
    items = [item for number, each in enumerate(ordered) for item in segments(number, each, options.segment_s)]
    counts: dict[str, Any] = {
        "clips": len(clips),
        "frames": sum(clip.frames * (clip.duration_us - clip.skip_us) // clip.duration_us for clip in clips),
        "seconds": round(sum(clip.duration_us - clip.skip_us for clip in clips) / 1e6, 3),
        "input_bytes": sum(clip.bytes for clip in clips),
    }
    width, height = clips[0].width, clips[0].height
    facts = {
        "clips": [clip.json() for clip in clips],
        "start": start.isoformat() if start else None,
        "frame_size": [width, height],
        "timeline": [[sources[clip.sources[0]].digest, clip.offset_us, clip.skip_us] for clip in clips],
    }
    memory = BASE_MIB + width * height * PICTURES * 1.5 / 2**20
    told = list(dict.fromkeys([*warnings, *(warning for clip in clips for warning in clip.warnings), *told]))
    return Sizing(sum(item["work"] for item in items), items, counts, facts, told, memory)


def identity(sources: list[Source]) -> list[Any]:
    """The contents of videos, whatever their names: where they lie on the timeline is a fact of its own.

    Empty where names say more: of folders of frames, and of models that options name.
    """
    videos = all(source.name.lower().endswith(VIDEO) for source in sources)
    return sorted({source.digest for source in sources}) if videos else []


def _found(sources: list[Source], options: CctvOptions, store: Store) -> tuple[list[Probed], list[str]]:
    """The clips of a drop: its videos, else each folder of frames."""
    most_pixels = options.max_megapixels * 1e6
    videos = [place for place, source in enumerate(sources) if source.name.lower().endswith(VIDEO)]
    pictures = [place for place, source in enumerate(sources) if source.name.lower().endswith(PICTURES_OF)]
    if not videos:
        folders: dict[str, list[int]] = {}
        for place in pictures:
            folders.setdefault(sources[place].name.rpartition("/")[0], []).append(place)
        if not folders:
            raise BadInput("the drop holds no video; give MP4, MOV, MKV, AVI or TS files, or a folder of JPEG or PNG frames")
        stated = {source.name.rpartition("/")[0]: source for source in sources if source.name.lower().endswith(STATED)}
        found = []
        for folder, places in folders.items():
            info = stated.get(folder) or stated.get(folder.rpartition("/")[0])
            hz = options.frame_hz or (stated_hz(store, info) if info else None)
            found.append(probe_folder(store, sources, places, hz, most_pixels))
        return found, []
    warnings = [f"{len(pictures)} pictures that lie beside videos are not looked at"] if pictures else []
    distinct, again = _distinct(sources, videos)
    if len(distinct) > MOST_CLIPS:
        raise BadInput(f"the drop holds {len(distinct)} clips, more than {MOST_CLIPS}; join them or drop them apart")
    with ThreadPoolExecutor(PROBED_AT_ONCE) as pool:
        found = list(pool.map(lambda place: probe(store, sources[place], place, most_pixels), distinct))
    return found, warnings + again


def _distinct(sources: list[Source], videos: list[int]) -> tuple[list[int], list[str]]:
    """The videos without those whose bytes another one has too."""
    first: dict[str, int] = {}
    for place in videos:
        first.setdefault(sources[place].digest or f"place {place}", place)
    kept = sorted(first.values())
    again = [
        f"{sources[place].name} is the same file as {sources[first[sources[place].digest]].name} and is left out"
        for place in videos
        if place not in kept
    ]
    return kept, again


def _check_one_camera(found: list[Probed]) -> None:
    first = found[0].clip
    for each in found:
        clip = each.clip
        if (clip.width, clip.height) != (first.width, first.height):
            raise BadInput(
                f"{clip.name} has frames of {clip.width} x {clip.height} pixels and {first.name} of {first.width} x "
                f"{first.height}; one drop is one camera: drop them apart"
            )


def _check_length(clips: list[Clip], options: CctvOptions) -> None:
    hours = sum(clip.duration_us - clip.skip_us for clip in clips) / 3.6e9
    if hours > options.max_hours:
        raise BadInput(f"there are {hours:.1f} hours of video, more than {options.max_hours:g}; set max_hours if that is right")
    days = (clips[-1].offset_us + clips[-1].duration_us) / 8.64e10
    if days > MOST_DAYS:
        raise BadInput(
            f"the clips span {days:.0f} days, from {clips[0].name} to {clips[-1].name}, more than {MOST_DAYS}; "
            "are the times in their names right?"
        )


def segments(number: int, found: Probed, segment_s: float) -> list[Item]:
    """The units of work of clip `number`: runs of whole blocks, the last one open to the end.

    Where decoding would have to begin far before a block, the block stays with the one before.
    """
    clip = found.clip
    blocks = max(1, -(-clip.duration_us // BLOCK_US))
    first = min(clip.skip_us // BLOCK_US, blocks - 1)
    each = max(1, round(segment_s * 1e6 / BLOCK_US))
    cuts = [first]
    for cut in range(first + each, blocks, each):
        if _lead_us(found, cut) <= max(LEAD_SHARE * (cut - cuts[-1]) * BLOCK_US, LEAST_LEAD_US):
            cuts.append(cut)
    return [_item(number, index, found, start, stop) for index, (start, stop) in enumerate(pairwise([*cuts, blocks]))]


def _lead_us(found: Probed, cut: int) -> float:
    """How much is decoded in vain when a segment begins at block `cut`; infinite where everything before would be."""
    if not found.seeks:
        return inf
    if found.keys_us is None:
        return 0
    sought = cut * BLOCK_US - WARMUP_US
    place = bisect_right(found.keys_us, sought)
    return sought - found.keys_us[place - 1] if place else sought


def _item(number: int, index: int, found: Probed, start: int, stop: int) -> Item:
    clip = found.clip
    start_us, stop_us = start * BLOCK_US, min(stop * BLOCK_US, clip.duration_us)
    return {
        "id": f"c{number:03d}-s{index:04d}",
        "work": max(1.0, float((stop_us - max(start_us, clip.skip_us)) * clip.hz / 1_000_000)),
        "clip": number,
        "file": clip.sources[0],
        "first_block": start,
        "blocks": stop - start,
        "start_us": start_us,
        "stop_us": None if stop * BLOCK_US >= clip.duration_us else stop * BLOCK_US,
        "decode_from": _key_before(found, start_us - WARMUP_US),
    }


def _key_before(found: Probed, time_us: int) -> int | None:
    """The time in the index (units of the clip's time base) of the key frame at or before this moment."""
    place = bisect_right(found.keys_us or [], time_us)
    return found.clip.pts_at(found.keys_us[place - 1] + 1) if place and found.keys_us else None
