"""The report of a point cloud run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tilery.report import ClassCount, Figure, FileLink, Picture, Report
from tilery.run import Product
from tilery.workloads.pointcloud import agreement

CLASSES = {
    0: ("created, never classified", "#9aa5b1"),
    1: ("unclassified", "#c9ced6"),
    2: ("ground", "#a5754b"),
    3: ("low vegetation", "#b5d99c"),
    4: ("medium vegetation", "#6fb35b"),
    5: ("high vegetation", "#2f7d32"),
    6: ("building", "#d1495b"),
    7: ("low point (noise)", "#7b2d8b"),
    8: ("model key point", "#c58f5c"),
    9: ("water", "#3a86c8"),
    10: ("rail", "#8a6d3b"),
    11: ("road surface", "#9098a1"),
    12: ("overlap", "#b8bec6"),
    13: ("wire guard", "#f2c14e"),
    14: ("wire conductor", "#e0a100"),
    15: ("transmission tower", "#8f5b00"),
    16: ("wire connector", "#c98600"),
    17: ("bridge deck", "#6c7a8d"),
    18: ("high noise", "#b983c9"),
    19: ("overhead structure", "#b36a5e"),
    20: ("ignored ground", "#cbb39a"),
    21: ("snow", "#e8eef4"),
    22: ("temporal exclusion", "#a7a7b5"),
}
"""ASPRS LAS 1.4-R15, table 17, with the usual colours."""


OTHER_COLOUR = "#5c677d"


@dataclass(frozen=True, slots=True)
class Seen:
    """What the report shows of the area. Shares are of squares (see density.py) within it."""

    area_m2: float
    void_share: float
    """Without any point."""
    thin_share: float
    """With less than a point a square metre."""
    blind_share: float
    """Without a ground point."""
    pictures: Mapping[str, Sequence[Picture]]
    """By heading."""


def page(record: Mapping[str, Any], statistics: Mapping[str, Any], seen: Seen, products: Sequence[Product]) -> str:
    """The HTML of a run."""
    points = int(statistics["points"])
    ground = int(statistics["classes"].get("2", 0))
    report = Report(str(record["dataset"]), "Point cloud classification", str(record["status"]))
    report.holes(record["missing"])
    report.figures(
        [
            Figure("Points", f"{points:,}", f"{record['counts'].get('files', 1)} file(s)"),
            Figure("Ground", _percent(ground, points), f"{ground:,} points"),
            Figure("Density", f"{points / seen.area_m2:.1f} / m2" if seen.area_m2 else "-", f"{seen.area_m2 / 1e4:,.2f} ha"),
            Figure("Ground heights", _range(statistics["ground_mm"]), "metres, lowest to highest"),
            Figure("Time", f"{record['timings']['total_s']:.1f} s", f"estimate {record['estimate']['seconds']:.1f} s"),
        ]
    )
    report.warnings(record["warnings"])
    for heading, pictures in seen.pictures.items():
        if pictures:
            report.pictures(heading, pictures)
    counts = sorted((int(label), int(count)) for label, count in statistics["classes"].items())
    report.classes("Classes", [ClassCount(f"{label} {_name(label)}", count, _colour(label)) for label, count in counts])
    _before_and_after(report, statistics["was"], dict(counts))
    _agreement(report, statistics["was"])
    report.facts(
        "Coverage",
        {
            "area": f"{seen.area_m2 / 1e4:,.2f} ha",
            "without any point": f"{seen.void_share:.1%} of the area",
            "less than 1 point / m2": f"{seen.thin_share:.1%} of the area",
            "without a ground point": f"{seen.blind_share:.1%} of the area",
        },
    )
    report.timings(record["timings"]["stages"], record["timings"]["total_s"])
    report.files("Products", [FileLink(product.path, product.kind, product.bytes) for product in _shown(products)])
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


MOST_FILES = 200


def _shown(products: Sequence[Product]) -> list[Product]:
    """The products that are worth a link: not every item of the catalogue, and not thousands of files."""
    plain = [product for product in products if not product.path.startswith("stac/items/")]
    classified = [product for product in plain if product.kind == "classified"]
    others = [product for product in plain if product.kind != "classified"]
    return [*others, *classified[:MOST_FILES]]


def _before_and_after(report: Report, was: Mapping[str, int], now: Mapping[int, int]) -> None:
    """The classes of input and result, side by side."""
    before = agreement.before(was)
    rows = []
    for label in sorted({*before, *now}):
        one, other, both = before.get(label, 0), now.get(label, 0), was.get(f"{label}>{label}", 0)
        rows.append([f"{label} {_name(label)}", f"{one:,}", f"{other:,}", f"{both:,}", _percent(both, one + other - both)])
    columns = ["Class", "As it came", "Now", "In both", "Of those in either"]
    report.table("Before and after", columns, rows, align=["left", "right", "right", "right", "right"])


def _agreement(report: Report, was: Mapping[str, int]) -> None:
    """How the result compares where the input came with ground."""
    found = agreement.of_ground(was)
    if found is None:
        return
    rows = [
        ["was ground", found.kept, found.lost, f"{found.type_1:.2%} lost (type I)"],
        ["was something else", found.gained, found.other, f"{found.type_2:.2%} gained (type II)"],
    ]
    note = (
        f"Cohen's kappa {found.kappa:.1%}, {found.error:.2%} of the points differ. "
        "The classes that the input came with are taken as the reference; they may be wrong themselves."
    )
    columns = ["Against the input's ground", "ground now", "something else now", "error"]
    report.table("Agreement on ground", columns, rows, align=["left", "right", "right", "left"], note=note)


def _name(label: int) -> str:
    return CLASSES.get(label, ("reserved or user defined", ""))[0]


def _colour(label: int) -> str:
    return CLASSES.get(label, ("", OTHER_COLOUR))[1]


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _range(heights_mm: Sequence[int]) -> str:
    return f"{heights_mm[0] / 1000:.1f} \u2013 {heights_mm[1] / 1000:.1f}" if heights_mm else "-"
