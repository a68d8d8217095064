"""The report of a CCTV run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from tilery.report import Figure, FileLink, Picture, Report, duration
from tilery.run import Product
from tilery.workloads.cctv import plots
from tilery.workloads.cctv.counting import WAYS
from tilery.workloads.cctv.drawing import drawing

LISTED = 60
"""Rows of a table in the page; the files have all."""

Summary = Mapping[str, Any]
"""What merge wrote as summary.json (see `analysis`), with what `products` adds of the drop."""


def page(
    record: Mapping[str, Any],
    summary: Summary,
    background: bytes,
    pictures: Sequence[Picture],
    products: Sequence[Product],
    calls: Mapping[str, Any],
    asked: Mapping[str, Any],
) -> str:
    """The HTML. `background` is a PNG of the reference frame; `calls` says what the detector did and what it was spared;
    `asked` are the options that are not the default, as JSON.
    """
    report = Report(str(summary["camera"]), _subtitle(summary), str(record["status"])).holes(record["missing"])
    report.figures(_figures(summary, calls))
    report.warnings(record["warnings"])
    drawing(
        report,
        background,
        (summary["size"][0], summary["size"][1]),
        run_id=str(record["run_id"]),
        lines=summary["lines"],
        proposed=summary["proposed"],
        zones=summary["zones"],
        calibration=asked.get("calibration"),
    )
    _counts(report, summary)
    _speeds(report, summary)
    if summary["od"]:
        rows = [
            [origin or "outside", destination or "outside", label, count] for origin, destination, label, count in summary["od"]
        ]
        report.table("From zone to zone", ["from", "to", "class", "road users"], rows[:LISTED], note=_more(rows))
    if pictures:
        report.pictures("Where and how they moved", pictures)
    if summary["spots"]:
        rows = [[spot["kind"], spot["x"], spot["y"], spot["flow"], spot["share"]] for spot in summary["spots"]]
        columns = ["flow", "x (px)", "y (px)", "road users", "share of all"]
        report.table("Hot spots", columns, rows[:LISTED], align=["left", "right", "right", "right", "right"], note=_more(rows))
    _gaps(report, summary)
    _work(report, summary, calls)
    report.timings(record["timings"]["stages"], record["timings"]["total_s"])
    report.files("Products", [FileLink(product.path, product.kind, product.bytes) for product in products])
    report.facts("Run", _facts(record, summary, asked))
    return report.html()


def _subtitle(summary: Summary) -> str:
    span = duration((summary["stop_us"] - summary["start_us"]) / 1e6)
    return f"{span} of video" + (f" from {summary['start'][:19].replace('T', ' ')}" if summary["start"] else "")


def _figures(summary: Summary, calls: Mapping[str, Any]) -> list[Figure]:
    users = summary["users"]
    crossed = sum(total["count"] for total in summary["totals"])
    shown = [
        Figure("Road users", f"{sum(users.values()):,}", ", ".join(f"{count:,} {label}" for label, count in users.items())),
        Figure(
            "Crossings",
            f"{crossed:,}",
            f"of {len(summary['lines'])} line{'s' * (len(summary['lines']) != 1)}"
            + (" (proposed)" if summary["proposed"] else ""),
        ),
        Figure("Frames", f"{summary['frames']['all']:,}", f"{summary['frames']['detected']:,} through the detector"),
    ]
    if calls["spared"]:
        share = 100 * calls["spared"] / max(1, calls["due"])
        shown.append(
            Figure("Detector calls saved", f"{share:.0f} %", f"{calls['spared']:,} of {calls['due']:,}: nothing moved")
        )
    missing = sum(stop - start for start, stop in summary["unseen"]) / 1e6
    if missing:
        shown.append(Figure("Missing", duration(missing), "hatched in the plots"))
    return shown


def _counts(report: Report, summary: Summary) -> None:
    colour = plots.colours(list(summary["users"]))
    midnight = summary["midnight_us"]
    axis = plots.Axis(
        summary["start_us"] / 1e6, summary["stop_us"] / 1e6, None if midnight is None else midnight / 1e6
    )  # fmt: skip
    missing = [(start / 1e6, stop / 1e6) for start, stop in summary["unseen"]]
    drawn = []
    for name in summary["lines"]:
        bars = [plots.Bar(*bar) for line, *bar in summary["bars"] if line == name]
        drawn.append(
            f"<h3>{escape(name)}</h3>" + plots.counts(bars, axis, summary["bin_s"], missing, colour, (WAYS[0], WAYS[1]))
        )
    note = (
        "<p class=note>Each road user is counted once a line and way, when it is surely on the other side. "
        f"Bars of {summary['bin_s']:g} s. Hatched: nothing was seen, so nothing is known; such bins are empty in counts.csv, "
        "not zero.</p>"
    )
    report.block("Crossings over time", f"<div class=plots>{''.join(drawn)}{note}</div>", style=plots.STYLE)
    rows = [[total["line"], total["way"], total["label"], total["count"]] for total in summary["totals"] if total["count"]]
    report.table("Crossings", ["line", "way", "class", "road users"], rows[:LISTED], note=_more(rows))


def _speeds(report: Report, summary: Summary) -> None:
    """Medians by class, with what one speed is uncertain by."""
    unit = summary["speed_unit"]
    rows = [
        [
            one["label"],
            one["tracks"],
            f"{one['median']:,.1f}",
            f"{one['p15']:,.1f} to {one['p85']:,.1f}",
            f"± {one['sigma']:,.1f}",
            one["impossible"],
        ]
        for one in summary["speeds"]
    ]
    columns = ["class", "road users", f"median ({unit})", "15 to 85 %", "uncertainty of one", "impossible"]
    note = (
        f"Each road user's median speed, standing included; the uncertainty is one standard deviation of a single speed. "
        f"Above {summary['max_speed_kmh']:g} km/h a speed is flagged as impossible and left out."
        if unit == "km/h"
        else "Without a calibration there are no km/h: mark four points of the ground above and say where they are."
    )
    if rows:
        report.table("Speeds", columns, rows, align=["left", "right", "right", "right", "right", "right"], note=note)


def _gaps(report: Report, summary: Summary) -> None:
    midnight = summary["midnight_us"]
    axis = plots.Axis(0, 1, None if midnight is None else midnight / 1e6)
    rows = [
        [kind, axis.clock(start / 1e6), axis.clock(stop / 1e6), duration((stop - start) / 1e6)]
        for kind, start, stop in summary["gaps"]
    ]
    if rows:
        note = _more(rows) or "Counts and speeds know nothing of these spans."
        report.table("What is missing or damaged", ["what", "from", "to", "for"], rows[:LISTED], note=note)


def _work(report: Report, summary: Summary, calls: Mapping[str, Any]) -> None:
    frames = summary["frames"]
    facts: dict[str, object] = {
        "Frames": f"{frames['all']:,}: {frames['detected']:,} went through the detector, {frames['still']:,} were due but "
        f"still, {frames['skipped']:,} lie between, {frames['damaged']:,} damaged"
        + (f"; {frames['missing']:,} or so are missing" if frames.get("missing") else ""),
        "Detector": ", ".join(calls["detectors"]) or "none",
        "Detector calls saved": f"{calls['spared']:,} of {calls['due']:,} looks, because nothing had changed",
        "Boxes": f"{summary['boxes']:,} found, {summary['tracked']:,} of them in tracks",
    }
    if summary.get("dedup"):
        facts["Frames stored once"] = summary["dedup"]
    if summary["blur"]:
        facts["Hidden"] = (
            f"{' and '.join(summary['blur'])}: in the background, the pictures here and the annotated video. What the detector "
            "did not find is not hidden. Tables hold positions and times, no pictures."
        )
    if summary["stabilised"]:
        one = summary["stabilised"]
        facts["Stabilised"] = (
            f"{one['registered']:,} frames registered directly to one reference frame, median error {one['error_px']:.2f} px, "
            f"95 % below {one['error_p95_px']:.2f} px, from the first to the last tenth {one['drift_px']:+.2f} px; "
            f"{one['unregistered']:,} not registered; the view strays up to {one['strays_px']:.0f} px"
        )
    report.facts("How it was done", facts)


def _facts(record: Mapping[str, Any], summary: Summary, asked: Mapping[str, Any]) -> dict[str, object]:
    return {
        "Clips": ", ".join(summary["clips"][:10]) + (" ..." if len(summary["clips"]) > 10 else ""),
        "Picture": f"{summary['size'][0]} x {summary['size'][1]} pixels, upright",
        "Run": record["run_id"],
        "Lane": f"{record['lane']}: {record['lane_reason']}",
        "Device": f"{record['device']}: {record['device_reason']}",
        "Version": record["version"],
        **{f"option {name}": json.dumps(value) for name, value in sorted(asked.items())},
    }


def _more(rows: Sequence[Any]) -> str:
    return f"The first {LISTED} of {len(rows):,}; the files have all." if len(rows) > LISTED else ""
