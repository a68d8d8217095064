"""All segments of a run put together again: one table of frames, one of detections, and what is missing between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from tilery.run import Run
from tilery.workload import Done, Item, Work
from tilery.workloads.cctv import exports, tables
from tilery.workloads.cctv.clips import Clip
from tilery.workloads.cctv.counting import Span, merged
from tilery.workloads.cctv.detections import Detections
from tilery.workloads.cctv.frames import Frames, Looked
from tilery.workloads.cctv.options import CctvOptions
from tilery.workloads.cctv.stabilise import fill_gaps

SUMS = ("frames", "detected", "still", "skipped", "damaged", "boxes", "detector_calls", "registered", "unregistered")


@dataclass(frozen=True)
class Joined:
    """What the segments found, in the order of the timeline."""

    frames: Frames
    """With those of missing segments, as many as the clip's rate makes of them."""
    detections: Detections
    """Those of still frames too."""
    holes: list[Span]
    """Spans (us of the timeline) of segments that are missing."""
    confident: float
    """The score that starts a track."""
    values: Sequence[Mapping[str, Any]]
    """What the segments returned."""


def join(work: Work[CctvOptions], item: Item) -> Joined:
    """Read the tables of all finished segments. Times ascend: a clip's overlap with the one before was left out by size."""
    done = {str(one.item["id"]): one for one in work.finished("process")}
    parts = [done[part] for part in item["parts"]]
    frames = [tables.decode_frames(work.store.get(work.key("process", "frames", part))) for part in item["parts"]]
    found = [tables.decode_detections(work.store.get(work.key("process", "detections", part))) for part in item["parts"]]
    gaps = holes(work.run, parts)
    every = with_missing(Frames(*(_columns(frames, name) for name in Frames.__slots__)), gaps)
    every = replace(every, to_reference=fill_gaps(every.time_us, every.to_reference))
    names = ("time_us", "label", "score", "box", "moving")
    detections = Detections(**{name: _columns(found, name) for name in names})
    values = [one.value for one in parts]
    confident = max((float(value["confident"]) for value in values), default=0.5)
    spans = merged([span for _, span in gaps])
    return Joined(every, exports.explicit(every, detections), spans, confident, values)


def with_missing(frames: Frames, gaps: Iterable[tuple[Clip, Span]]) -> Frames:
    """The frames and, evenly between those around each gap, as many as its clip has in such a time by its rate.

    That is exact where frames come at a constant rate, whichever times they are given.
    """
    added = []
    for clip, (start, stop) in gaps:
        own = frames.time_us[(frames.time_us >= clip.offset_us) & (frames.time_us < clip.offset_us + clip.latest_us)]
        period = 1_000_000 / clip.hz
        before = int(max(own[own < start], default=clip.offset_us + clip.skip_us - period))
        after = int(min(own[own >= stop], default=clip.offset_us + clip.duration_us))
        count = max(0, round((after - before) / period) - 1)
        times = before + (after - before) * np.arange(1, count + 1) // (count + 1)
        added.append(times.astype(np.int64))
    if not added:
        return frames
    new = np.concatenate(added)
    time_us = np.concatenate([frames.time_us, new])
    looked = np.concatenate([frames.looked, np.full(len(new), Looked.MISSING, np.uint8)])
    matrices = np.concatenate([frames.to_reference, np.full((len(new), 3, 3), np.nan)])
    _, order = np.unique(time_us, return_index=True)  # of equal times the frame that is there
    return Frames(time_us[order], looked[order], matrices[order])


def holes(run: Run, parts: Iterable[Done]) -> list[tuple[Clip, Span]]:
    """The spans of the timeline that belong to no finished segment, though a clip has them; with the clip."""
    seen: dict[int, list[Span]] = {}
    for part in parts:
        stop = part.item["stop_us"]
        seen.setdefault(part.item["clip"], []).append((part.item["start_us"], stop if stop is not None else 1 << 62))
    found = []
    for number, facts in enumerate(run.facts["clips"]):
        clip = Clip.of(facts)
        at = clip.skip_us
        for start, stop in [*merged(seen.get(number, [])), (clip.duration_us, clip.duration_us)]:
            if start > at:
                found.append((clip, (clip.offset_us + at, clip.offset_us + start)))
            at = max(at, stop)
    return found


def damaged(frames: Frames) -> list[tuple[int, int, int]]:
    """Stretches of damaged frames: from, to (us), how many."""
    bad = frames.looked == Looked.DAMAGED
    edges = np.flatnonzero(np.diff(np.concatenate([[False], bad, [False]]).astype(np.int8)))
    interval = int(np.median(np.diff(frames.time_us))) if len(frames) > 1 else 0
    return [
        (int(frames.time_us[start]), int(frames.time_us[stop - 1]) + interval, int(stop - start))
        for start, stop in edges.reshape(-1, 2)
    ]


def sums(values: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    return {name: sum(int(value.get(name, 0)) for value in values) for name in SUMS}


def starting(run: Run, options: CctvOptions) -> datetime | None:
    """When the timeline starts, in the camera's zone; None where nothing says so."""
    said = run.facts.get("start")
    if not said:
        return None
    start, zone = datetime.fromisoformat(said), ZoneInfo(options.zone)
    return start.astimezone(zone) if start.tzinfo else start.replace(tzinfo=zone)


def midnight_us(start: datetime | None) -> int | None:
    """The time of day (us) at the timeline's 0."""
    if start is None:
        return None
    return ((start.hour * 60 + start.minute) * 60 + start.second) * 1_000_000 + start.microsecond


def _columns(parts: Sequence[Any], name: str) -> NDArray[Any]:
    """One column of all parts; each part has it, and there is at least one part."""
    return np.concatenate([getattr(part, name) for part in parts])
