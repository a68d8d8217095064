"""The merge verb: one tracker pass over all segments; then counts, speeds and maps, written as the files of the products."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.workload import Item, Work
from tilery.workloads.cctv import counting, exports, joined, parked, proposals, speeds, tracker, zones
from tilery.workloads.cctv.calibration import Ground, ground
from tilery.workloads.cctv.detections import Detections
from tilery.workloads.cctv.frames import Looked
from tilery.workloads.cctv.joined import Joined
from tilery.workloads.cctv.labels import LABELS, MOVING
from tilery.workloads.cctv.maps import maps
from tilery.workloads.cctv.options import CctvOptions, Line, Point
from tilery.workloads.cctv.stabilise import furthest
from tilery.workloads.cctv.tracks import Tracks

AFTER_DAMAGE = "How far damage reaches is a decoder's guess, which may differ where segments are cut elsewhere"
MOSTLY, MANY = 0.5, 50
"""The share of so many sure boxes, or more, from which on it is told that they did not move."""
FEW_BARS = 60
BARS_S = (1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0)


@dataclass(frozen=True)
class Analysis:
    """All that the products are written from."""

    found: Joined
    tracks: Tracks
    size: tuple[int, int]
    start: datetime | None
    ground: Ground | None
    speed: speeds.Speeds
    lines: Mapping[str, Line]
    crossings: Sequence[counting.Crossing]
    trips: Sequence[zones.Trip]
    timeline: counting.Span
    unseen: Sequence[counting.Span]


def merge(work: Work[CctvOptions], item: Item) -> dict[str, Any]:
    """Write every product but the film and the report; the value lists them, and counts for run.json."""
    done = analyse(work, joined.join(work, item))
    work.progress(0.5)
    products = _write(work, done)
    pictures, spots = maps(work, done, item["parts"])
    summary = _summary(work, done, spots)
    work.put_json(summary, "summary.json")
    crossed: dict[str, list[int]] = {name: [] for name in done.lines}
    for one in done.crossings:
        if one.counted:
            crossed[one.line].append(one.time_us)
    drawn = {"lines": summary["lines"], "zones": summary["zones"], "crossed": crossed, "confident": done.found.confident}
    work.put_json(drawn, "drawn.json")
    counts = {
        **{name: summary["frames"][name] for name in ("detected", "still", "damaged")},
        "frames": summary["frames"]["all"],
        "tracks": sum(summary["users"].values()),
        "crossings": sum(total["count"] for total in summary["totals"]),
        "missing_spans": [[start / 1e6, stop / 1e6] for start, stop in done.unseen],
    }
    return {"products": [*products, *pictures], "counts": counts, "warnings": _warnings(work, done, summary)}


def analyse(work: Work[CctvOptions], found: Joined) -> Analysis:
    """Everything that is computed from the tables, without a picture."""
    options = work.options
    width, height = work.run.facts["frame_size"]
    plane = ground(options.calibration, (width, height)) if options.calibration else None
    gap_us = round(options.gap_s * 1e6)
    tracks = tracker.track(
        found.frames, found.detections, confident=found.confident, gap_us=gap_us, gate=options.gate, missing=found.holes
    )
    lines = dict(options.lines) or proposals.lines(tracks, (width, height))
    first, last = counting.timeline(found.frames)
    edges = [edge for span in found.holes for edge in span]
    return Analysis(
        found=found,
        tracks=tracks,
        size=(width, height),
        start=joined.starting(work.run, options),
        ground=plane,
        speed=speeds.speeds(tracks, plane, options.max_speed_kmh),
        lines=lines,
        crossings=counting.crossings(tracks, lines),
        trips=zones.trips(tracks, options.zones),
        timeline=(min([first, *edges]), max([last, *edges])),
        unseen=counting.unseen(found.frames, gap_us, found.holes),
    )


def _write(work: Work[CctvOptions], done: Analysis) -> list[tuple[str, str]]:
    """The tables; (kind, path) of each."""
    store, options, tracks, frames = work.store, work.options, done.tracks, done.found.frames
    name = options.camera or "camera"  # never the drop's: other drops of the same video share these files
    with store.writer(work.out("detections.parquet")) as target:
        least = tracker.begins(done.found.confident)
        exports.write_parquet(exports.detections_table(frames, done.found.detections, done.start, least), target)
    with store.writer(work.out("tracks.parquet")) as target:
        exports.write_parquet(exports.tracks_table(tracks, done.start, _more_columns(done)), target)
    rate = work.run.facts["clips"][0]["rate"]
    with store.writer(work.out("mot.zip")) as target:
        exports.write_mot(
            exports.in_every_frame(tracks, frames), target, labels=np.unique(tracks.label).tolist(), size=done.size,
            frames=len(frames), rate=rate[0] / rate[1], name=name,
        )  # fmt: skip
    with store.writer(work.out("coco.json")) as target:
        exports.write_coco(frames, done.found.detections, target, size=done.size, name=name)
    store.put(work.out("crossings.csv"), _crossings(done))
    store.put(work.out("counts.csv"), exports.csv_bytes(*_counts(options, done)))
    with store.writer(work.out("trajectories.geojson")) as target:
        exports.write_trajectories(tracks, *_places(done), done.start, _of_track(done), target)
    products = [
        ("detections", "detections.parquet"), ("tracks", "tracks.parquet"), ("mot", "mot.zip"), ("coco", "coco.json"),
        ("crossings", "crossings.csv"), ("counts", "counts.csv"), ("trajectories", "trajectories.geojson"),
    ]  # fmt: skip
    if options.zones:
        rows = zones.matrix(done.trips)
        store.put(work.out("od.csv"), exports.csv_bytes(["origin", "destination", "class", "count"], rows))
        products.append(("od", "od.csv"))
    return products


def _more_columns(done: Analysis) -> dict[str, NDArray[Any]]:
    """What is known of each row of the tracks besides: speeds, and places on the ground."""
    unit = done.speed.unit.replace("/", "_")
    more: dict[str, NDArray[Any]] = {
        f"speed_{unit}": done.speed.value,
        f"speed_{unit}_sigma": done.speed.sigma,
        "impossible": done.speed.impossible,
    }
    if done.ground is not None:
        metres = done.ground.metres(done.tracks.foot)
        more |= {"east_m": metres[:, 0], "north_m": metres[:, 1]}
        if done.ground.origin is not None:
            degrees = done.ground.degrees(metres)
            more |= {"longitude": degrees[:, 0], "latitude": degrees[:, 1]}
    return more


def _places(done: Analysis) -> tuple[NDArray[np.float64], str]:
    """Where the tracks were, in the best units there are."""
    if done.ground is None:
        return done.tracks.foot, "pixels"
    metres = done.ground.metres(done.tracks.foot)
    return (metres, "metres") if done.ground.origin is None else (done.ground.degrees(metres), "degrees")


def _of_track(done: Analysis) -> dict[int, dict[str, Any]]:
    unit = done.speed.unit.replace("/", "_")
    return {
        identity: {f"speed_{unit}": round(value, 2), f"speed_{unit}_sigma": round(sigma, 2)}
        for identity, (value, sigma) in speeds.of_tracks(done.tracks, done.speed).items()
    }


def _crossings(done: Analysis) -> bytes:
    unit = done.speed.unit.replace("/", "_")
    columns = ["line", "way", "class", "track", "time_s", "time", "x", "y", f"speed_{unit}", f"speed_{unit}_sigma", "counted"]
    of_track = dict(done.tracks.by_track())
    rows = []
    for one in done.crossings:
        own = of_track[one.id]
        at = own[min(int(np.searchsorted(done.tracks.time_us[own], one.time_us)), len(own) - 1)]
        value, sigma = float(done.speed.value[at]), float(done.speed.sigma[at])
        told = [f"{value:.2f}", f"{sigma:.2f}"] if np.isfinite(value) and not done.speed.impossible[at] else [None, None]
        when = [f"{one.time_us / 1e6:.3f}", exports.moment(done.start, one.time_us)]
        rows.append([one.line, one.way, one.label, one.id, *when, f"{one.x:.1f}", f"{one.y:.1f}", *told, int(one.counted)])
    return exports.csv_bytes(columns, rows)


def _bins(options: CctvOptions, done: Analysis) -> list[counting.Count]:
    phase_us = joined.midnight_us(done.start) or 0
    bins = counting.time_bins(done.timeline, round(options.bin_s * 1e6), phase_us)
    labels = (
        [] if set(done.tracks.label.tolist()) == {LABELS.index(MOVING)} else [one for one in options.classes if one in LABELS]
    )
    return counting.counts(done.crossings, done.lines, labels, bins, done.unseen)


def _counts(options: CctvOptions, done: Analysis) -> tuple[list[str], list[list[Any]]]:
    columns = ["line", "way", "class", "from_s", "to_s", "from", "to", "count", "missing_s"]
    return columns, [
        [
            one.line, one.way, one.label, f"{one.start_us / 1e6:.3f}", f"{one.stop_us / 1e6:.3f}",
            exports.moment(done.start, one.start_us), exports.moment(done.start, one.stop_us), one.count,
            f"{one.missing_s:.3f}",
        ]
        for one in _bins(options, done)
    ]  # fmt: skip


def _summary(work: Work[CctvOptions], done: Analysis, spots: list[dict[str, Any]]) -> dict[str, Any]:
    """What the report says; JSON."""
    options, tracks = work.options, done.tracks
    ids, first = np.unique(tracks.id, return_index=True)
    users = Counter(LABELS[label] for label in tracks.label[first].tolist())
    looked = Counter(done.found.frames.looked.tolist())
    binned = _bins(options, done)
    totals: Counter[tuple[str, str, str]] = Counter()
    for one in binned:
        totals[one.line, one.way, one.label] += one.count or 0
    return {
        "start": done.start.isoformat() if done.start else None,
        "midnight_us": joined.midnight_us(done.start),
        "start_us": done.timeline[0],
        "stop_us": done.timeline[1],
        "size": list(done.size),
        "frames": {
            "all": len(done.found.frames) - looked.get(int(Looked.MISSING), 0),
            **{looked_as.name.lower(): looked.get(int(looked_as), 0) for looked_as in Looked},
        },
        "boxes": len(done.found.detections),
        "tracked": int((tracks.state == 0).sum()),
        "users": dict(users.most_common()),
        "lines": {name: [list(point) for point in line] for name, line in done.lines.items()},
        "proposed": not options.lines and bool(done.lines),
        "zones": {name: [list(point) for point in area] for name, area in options.zones.items()},
        "bin_s": _bar_s(options.bin_s, done.timeline),
        "bars": _bars(done, _bar_s(options.bin_s, done.timeline)),
        "totals": [{"line": line, "way": way, "label": label, "count": count} for (line, way, label), count in totals.items()],
        "unseen": [list(span) for span in done.unseen],
        "gaps": _gaps(done),
        "speed_unit": done.speed.unit,
        "speeds": _speeds(done),
        "max_speed_kmh": options.max_speed_kmh,
        "od": [list(row) for row in zones.matrix(done.trips)] if options.zones else [],
        "spots": spots,
        "blur": list(options.blur),
        "stabilised": _stabilised(done) if options.view == "drone" else None,
        "ids": len(ids),
    }


def _bar_s(bin_s: float, timeline: counting.Span) -> float:
    """The bins of the plot: those of the counts, or finer ones where these are only a few."""
    span = (timeline[1] - timeline[0]) / 1e6
    return min(bin_s, next((step for step in BARS_S if span / step <= FEW_BARS), BARS_S[-1]))


def _bars(done: Analysis, bar_s: float) -> list[list[Any]]:
    """(line, start in seconds, class, way, count) of the bins that are not empty."""
    phase = (joined.midnight_us(done.start) or 0) / 1e6
    tally = Counter(
        (one.line, (one.time_us / 1e6 + phase) // bar_s, one.label, one.way) for one in done.crossings if one.counted
    )
    return [[line, number * bar_s - phase, label, way, count] for (line, number, label, way), count in sorted(tally.items())]


def _gaps(done: Analysis) -> list[list[Any]]:
    """(what, from, to) in us: missing segments, gaps between clips, stretches that could not be decoded."""
    lost = joined.damaged(done.found.frames)
    gaps = [["missing", *span] for span in done.found.holes]
    gaps += [["damaged", start, stop] for start, stop, _ in lost]
    known = counting.merged([*done.found.holes, *((start, stop) for start, stop, _ in lost)])
    gaps += [["no video", *span] for span in done.unseen if not any(a < span[1] and span[0] < b for a, b in known)]
    return sorted(gaps, key=lambda gap: gap[1])


def _speeds(done: Analysis) -> list[dict[str, Any]]:
    of_track = speeds.of_tracks(done.tracks, done.speed)
    fast = set(done.tracks.id[done.speed.impossible].tolist())
    classes: dict[str, list[int]] = {}
    for identity, rows in done.tracks.by_track():
        classes.setdefault(LABELS[int(done.tracks.label[rows[0]])], []).append(identity)
    told: list[dict[str, Any]] = []
    for label, ids in sorted(classes.items(), key=lambda entry: -len(entry[1])):
        values = np.array([of_track[one] for one in ids if one in of_track])
        if not len(values):
            continue
        low, middle, high = np.percentile(values[:, 0], [15, 50, 85])
        told.append(
            {
                "label": label, "tracks": len(values), "median": float(middle), "p15": float(low), "p85": float(high),
                "sigma": float(np.median(values[:, 1])), "impossible": len(fast & set(ids)),
            }
        )  # fmt: skip
    return told


def _stabilised(done: Analysis) -> dict[str, Any]:
    sums = joined.sums(done.found.values)
    errors = np.array([error for value in done.found.values for error in value.get("error_px", [])] or [0.0])
    tenth = max(1, len(errors) // 10)
    return {
        "registered": sums["registered"],
        "unregistered": sums["unregistered"],
        "error_px": float(np.median(errors)),
        "error_p95_px": float(np.percentile(errors, 95)),
        "drift_px": float(np.median(errors[-tenth:]) - np.median(errors[:tenth])),
        "strays_px": furthest(done.found.frames.to_reference, *done.size),
    }


def _warnings(work: Work[CctvOptions], done: Analysis, summary: Mapping[str, Any]) -> list[str]:
    options, told = work.options, []
    for start, stop in done.found.holes:
        told.append(f"{(stop - start) / 1e6:g} s from second {start / 1e6:g} on are missing: nothing is known of that span")
    if summary["frames"]["damaged"]:
        count = summary["frames"]["damaged"]
        told.append(f"{count:,} frames could not be decoded; the timeline keeps their place. {AFTER_DAMAGE}")
    if not len(done.tracks):
        told.append("nothing was tracked: look at the background in the report, and at classes, score and detector")
    if options.gate and (share := unmoved(done.found.detections, done.found.confident)) > MOSTLY:
        told.append(
            f"{share:.0%} of the boxes of which the detector is sure did not move against the background: parked, standing, or "
            "part of the scene; gate=false follows them as well"
        )
    fast = sum(one["impossible"] for one in summary["speeds"])
    if fast:
        told.append(f"{fast:,} tracks go faster than {options.max_speed_kmh:g} km/h somewhere: check the calibration")
    if done.ground is not None and done.ground.residual_px > 5:
        told.append(f"the calibration's points miss by {done.ground.residual_px:.1f} pixels: check them and their metres")
    if summary["stabilised"] and summary["stabilised"]["unregistered"]:
        count = summary["stabilised"]["unregistered"]
        told.append(f"{count:,} frames could not be laid over the reference frame: their places are interpolated")
    told += outside(options, done.size)
    return told


def unmoved(detections: Detections, confident: float) -> float:
    """The share of confident boxes in which nothing moved; 0 where there are few of them, or motion was not measured."""
    moving = detections.moving[detections.score >= tracker.begins(confident)]
    moving = moving[np.isfinite(moving)]
    return float((moving < parked.GHOST).mean()) if len(moving) >= MANY else 0.0


def outside(options: CctvOptions, size: tuple[int, int]) -> list[str]:
    """What was drawn beside the picture, as on one of another size."""
    width, height = size
    drawn: dict[str, Sequence[Point]] = {f"the line {name}": line for name, line in options.lines.items()}
    drawn |= {f"the zone {name}": zone for name, zone in options.zones.items()}
    beside = [name for name, points in drawn.items() if not _touch(points, width, height)]
    points = options.calibration.points if options.calibration else []
    if any(not (-width <= x <= 2 * width and -height <= y <= 2 * height) for x, y in points):
        beside.append("a point of the calibration")
    return [f"{', '.join(beside)}: outside the picture of {width} x {height} pixels"] if beside else []


def _touch(points: Sequence[Point], width: int, height: int) -> bool:
    """Whether the rectangle around the points has a part in the picture."""
    x, y = zip(*points, strict=True)
    return bool(min(x) <= width and max(x) >= 0 and min(y) <= height and max(y) >= 0)


def read_summary(work: Work[CctvOptions]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(work.store.get(work.key("merge", "summary.json")))
    return found
