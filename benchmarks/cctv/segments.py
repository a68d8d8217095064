"""The process verb on files of this machine, without a run around it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tilery.options import parse
from tilery.run import Estimate, Run, Source, Trigger
from tilery.store.directory import DirectoryStore
from tilery.workload import Item, Work
from tilery.workloads.cctv import tables
from tilery.workloads.cctv.detections import Detections
from tilery.workloads.cctv.frames import Frames
from tilery.workloads.cctv.options import CctvOptions
from tilery.workloads.cctv.segment import process
from tilery.workloads.cctv.sizing import size

Seen = tuple[Frames, Detections, list[dict[str, Any]]]


def sized(root: Path, files: Iterable[Path], device: str = "cpu", **options: Any) -> tuple[Work[CctvOptions], list[Item]]:
    """The files as a drop of their own below `root` (hard links, or copies), sized."""
    store = DirectoryStore(root)
    sources = []
    for file in files:
        key = f"drop/bench/cctv/{file.name}"
        place = root / key
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            try:
                os.link(file, place)
            except OSError:
                place.write_bytes(file.read_bytes())
        entry = store.head(key)
        assert entry is not None
        sources.append(Source(name=file.name, key=key, size=entry.size, version=entry.version))
    chosen = parse(CctvOptions, options, "the options")
    plan = size(sources, chosen, store)
    run = Run(
        run_id="bench", tenant="bench", workload="cctv", dataset="bench", sources=sources, options=options, fingerprint="0",
        trigger=Trigger(bucket="drop", key=sources[0].key, version=""), lane="lambda", lane_reason="", counts=plan.counts,
        estimate=Estimate(seconds=0, dollars=0), facts=plan.facts, warnings=plan.warnings, received="", version="0",
    )  # fmt: skip
    work = Work(
        run=run, options=chosen, store=store, stage="process", folders={"process": "work/bench/process"}, scratch=root,
        device=device,
    )  # fmt: skip
    return work, plan.items


def seen(work: Work[CctvOptions], items: Sequence[Item]) -> Seen:
    """The tables of all segments, joined, and what the verb returned for each."""
    values = [process(work, item) for item in items]
    frames = [tables.decode_frames(work.store.get(work.out("frames", item["id"]))) for item in items]
    found = [tables.decode_detections(work.store.get(work.out("detections", item["id"]))) for item in items]
    return (
        Frames(*(np.concatenate([getattr(one, name) for one in frames]) for name in Frames.__slots__)),
        Detections(*(np.concatenate([getattr(one, name) for one in found]) for name in Detections.__slots__)),
        values,
    )
