"""The last step: the files of the merge, the film joined from its segments, the dedup report, and the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tilery.outcomes import BadInput
from tilery.report import Picture
from tilery.run import Product
from tilery.store.port import Span
from tilery.workload import Done, Publication, Published
from tilery.workloads.cctv import film, joined, marks
from tilery.workloads.cctv.analysis import read_summary
from tilery.workloads.cctv.clips import Clip
from tilery.workloads.cctv.dedup import saving
from tilery.workloads.cctv.options import CctvOptions
from tilery.workloads.cctv.page import page
from tilery.workloads.cctv.stored import Stored

FILM = "annotated.mp4"


def publish(publication: Publication[CctvOptions]) -> Published:
    """Write all products; the same run writes the same bytes."""
    merged = publication.done["merge"][0].value
    work = publication.work
    told = {
        "camera": work.options.camera or work.run.dataset,
        "clips": [clip["name"] for clip in work.run.facts["clips"]],
    }  # what the shared files of the merge do not say, since it is this drop's
    summary = {**read_summary(work), **told}
    segments = publication.done["process"]
    calls = detector_calls(segments)
    products = [_taken(publication, kind, path) for kind, path in merged["products"]]
    if work.options.annotate:
        products += _film(publication, summary)
    if work.options.dedup != "off":
        frames = saving.report([one.value.get("dedup") for one in segments])
        summary["dedup"] = frames["sentence"]
        report = {"detector": calls, "sources": _sources(publication), "frames": frames}
        products.append(publication.put("dedup", "dedup.json", json.dumps(report, indent=1, sort_keys=True).encode()))
    record = {**publication.record, "warnings": [*publication.record["warnings"], *merged["warnings"]]}
    asked = work.options.model_dump(mode="json", exclude_defaults=True)
    html = page(record, summary, _picture(publication, "background.png"), _pictures(publication), products, calls, asked)
    products.append(publication.put("report", "report.html", html.encode()))
    return Published(products, merged["counts"], merged["warnings"])


def detector_calls(segments: Sequence[Done]) -> dict[str, Any]:
    """How many looks were due, how many needed the detector, and which it was."""
    sums = joined.sums([one.value for one in segments])
    detectors = sorted({f"{one.value['detector']} ({one.value['provider']})" for one in segments})
    due = sums["detected"] + sums["still"]
    return {"due": due, "spared": sums["still"], "calls": sums["detector_calls"], "detectors": detectors}


def _sources(publication: Publication[CctvOptions]) -> dict[str, Any]:
    """What of the drop is the same under several names: it is one object to the workload, stored and worked on once."""
    sources = publication.work.run.sources
    first: dict[str, str] = {}
    same = []
    for source in sources:
        if source.digest and (known := first.setdefault(source.digest, source.name)) != source.name:
            same.append({"name": source.name, "same_as": known, "bytes": source.size})
    return {"files": len(sources), "bytes": sum(source.size for source in sources), "repeated": same}


def _taken(publication: Publication[CctvOptions], kind: str, path: str) -> Product:
    """A file of the merge, put into its place by the store itself."""
    store, key = publication.work.store, publication.work.key("merge", path)
    entry = store.head(key)
    if entry is None:
        raise BadInput(f"{path} of this run is gone from the work folder; run `tilery redo --from merge`")
    store.compose(publication.key(path), [Span(key, 0, entry.size)])
    return publication.product(kind, path)


def _film(publication: Publication[CctvOptions], summary: Mapping[str, Any]) -> list[Product]:
    """The segments' films, joined as they are, each read where it lies; where one is missing, a slate that says so."""
    work = publication.work
    made = [one for one in publication.done["finish"] if one.value["frames"]]
    if not made:
        return []
    clips = [Clip.of(facts) for facts in work.run.facts["clips"]]
    there = [clips[one.item["clip"]].offset_us + one.item["start_us"] for one in made]
    parts: list[tuple[int, Path | Stored]] = [
        (at, Stored(work.store, work.key("finish", "film", f"{one.item['id']}.mp4")))
        for at, one in zip(there, made, strict=True)
    ]
    size = film.size(clips[0].width, clips[0].height, work.options.film_px)
    for number, start_us in enumerate(_unfilmed(publication, summary, clips)):
        parts.append((start_us, _slate(work.scratch / f"slate-{number}.mp4", size, start_us)))
    film.join([part for _, part in sorted(parts, key=lambda part: part[0])], work.scratch / FILM)
    return [publication.upload("annotated", work.scratch / FILM)]


def _unfilmed(publication: Publication[CctvOptions], summary: Mapping[str, Any], clips: Sequence[Clip]) -> list[int]:
    """When (us) the spans begin that no segment's film shows."""
    unseen = [int(start) for kind, start, _ in summary["gaps"] if kind == "missing"]
    gone = set(publication.missing.get("finish", ()))
    undrawn = [one.item for one in publication.done["process"] if one.item["id"] in gone]
    return unseen + [clips[item["clip"]].offset_us + max(item["start_us"], clips[item["clip"]].skip_us) for item in undrawn]


def _slate(path: Path, size: tuple[int, int], time_us: int) -> Path:
    """One dark picture, which stands until the next part begins."""
    canvas = np.full((size[1], size[0], 3), 40, np.uint8)
    marks.text(canvas, "missing: nothing is known of this span", (8, 20), marks.INK)
    with film.Film(path, *size) as made:
        made.add(canvas, time_us)
    return path


def _pictures(publication: Publication[CctvOptions]) -> list[Picture]:
    told = {
        "heatmap.png": ("How many came through each place. Rings: significantly more or fewer than elsewhere.", "Heat map"),
        "paths.png": ("The way of each road user, where its feet or wheels were.", "Paths over the background"),
        "sample.png": ("The frame of the background's samples with the most road users in it.", "A frame with boxes"),
    }  # fmt: skip
    work = publication.work
    there = {name: work.store.head(work.key("merge", name)) for name in told}
    return [Picture(_picture(publication, name), *told[name]) for name, entry in there.items() if entry is not None]


def _picture(publication: Publication[CctvOptions], name: str) -> bytes:
    return publication.work.store.get(publication.work.key("merge", name))
