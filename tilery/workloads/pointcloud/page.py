"""The report of a point cloud run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tilery.report import ClassCount, Figure, FileLink, Picture, Report
from tilery.run import Product

CLASSES = {
    0: ("created, never classified", "#9aa5b1"),
    1: ("unclassified", "#c9ced6"),
    2: ("ground", "#a5754b"),
    3: ("low vegetation", "#b5d99c"),
    4: ("medium vegetation", "#6fb35b"),
    5: ("high vegetation", "#2f7d32"),
    6: ("building", "#d1495b"),
    7: ("low point (noise)", "#7b2d8b"),
    9: ("water", "#3a86c8"),
    17: ("bridge deck", "#8d99ae"),
    18: ("high noise", "#b983c9"),
}
"""ASPRS LAS 1.4-R15, table 17, with the usual colours."""


def page(
    record: Mapping[str, Any],
    statistics: Mapping[str, Any],
    area_m2: float,
    products: Sequence[Product],
    pictures: Sequence[Picture],
) -> str:
    """The HTML of a run. `area_m2`: ground covered by cells that hold a point."""
    points = int(statistics["points"])
    ground = int(statistics["classes"].get("2", 0))
    report = Report(str(record["dataset"]), "Point cloud classification", str(record["status"]))
    report.holes(record["missing"])
    report.figures(
        [
            Figure("Points", f"{points:,}", f"{record['counts'].get('files', 1)} file(s)"),
            Figure("Ground", _percent(ground, points), f"{ground:,} points"),
            Figure("Density", f"{points / area_m2:.1f} / m2" if area_m2 else "-", f"{area_m2 / 1e4:,.2f} ha with ground"),
            Figure("Ground heights", _range(statistics["ground_mm"]), "metres"),
            Figure("Time", f"{record['timings']['total_s']:.1f} s", f"estimate {record['estimate']['seconds']:.1f} s"),
        ]
    )
    report.warnings(record["warnings"])
    report.pictures("Terrain", pictures)
    counts = sorted((int(label), int(count)) for label, count in statistics["classes"].items())
    report.classes("Classes", [ClassCount(f"{label} {_name(label)}", count, _colour(label)) for label, count in counts])
    report.timings(record["timings"]["stages"], record["timings"]["total_s"])
    report.files("Products", [FileLink(product.path, product.kind, product.bytes) for product in products])
    report.facts(
        "Run",
        {
            "run": record["run_id"],
            "lane": f"{record['lane']}: {record['lane_reason']}",
            "device": f"{record['device']}: {record['device_reason']}",
            "version": record["version"],
            **{f"option {name}": value for name, value in record["options"].items()},
        },
    )
    return report.html()


def _name(label: int) -> str:
    return CLASSES.get(label, ("reserved or user defined", ""))[0]


def _colour(label: int) -> str:
    return CLASSES.get(label, ("", "#5c677d"))[1]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _range(heights_mm: Sequence[int]) -> str:
    return f"{heights_mm[0] / 1000:.1f} to {heights_mm[1] / 1000:.1f}" if heights_mm else "-"
