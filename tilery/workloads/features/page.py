"""The report of a features run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tilery.report import ClassCount, Figure, FileLink, Picture, Report
from tilery.run import Product
from tilery.workloads.features.scatter import palette

COMPONENTS_SHOWN = 15
CLASSES_SHOWN = 200


def page(
    record: Mapping[str, Any], summary: Mapping[str, Any], products: Sequence[Product], pictures: Sequence[Picture]
) -> str:
    """The HTML of a run; `summary` is what the summary item returned."""
    report = Report(str(record["dataset"]), "Picture features", str(record["status"])).holes(record["missing"])
    report.figures(_figures(record, summary))
    report.warnings(record["warnings"])
    if pictures:
        report.pictures("Where the pictures lie", pictures)
    _variance(report, summary)
    _classes(report, summary)
    if summary["bad"]:
        rows = [[entry["path"], entry["error"], entry["reason"]] for entry in summary["bad"]]
        note = f"The first {len(rows)} of {summary['errors']:,}; the dataset has all." if summary["errors"] > len(rows) else ""
        report.table("Pictures without features", ["picture", "error", "reason"], rows, note=note)
    report.timings(record["timings"]["stages"], record["timings"]["total_s"])
    report.files("Products", [FileLink(product.path, product.kind, product.bytes) for product in products])
    report.facts(
        "Run",
        {
            "run": record["run_id"],
            "backbone": f"{summary['backbone']}, sha256 {summary['digest'][:16]}",
            "run by": ", ".join(summary["providers"]),
            "lane": f"{record['lane']}: {record['lane_reason']}",
            "device": f"{record['device']}: {record['device_reason']}",
            "version": record["version"],
            **{f"option {name}": value for name, value in record["options"].items()},
        },
    )
    return report.html()


def _figures(record: Mapping[str, Any], summary: Mapping[str, Any]) -> list[Figure]:
    found = summary["separation"]
    share = f"{100 * sum(summary['ratio']):.1f} % of the variance"
    explained = share if summary["components"] else "one picture" if summary["pictures"] == 1 else "the pictures do not differ"
    shown = [
        Figure("Pictures", f"{summary['pictures']:,}", f"{summary['errors']:,} with an error" if summary["errors"] else ""),
        Figure("Labels", f"{len([name for name in summary['labels'] if name]):,}"),
        Figure("Components", f"{summary['components']:,}", explained),
    ]
    if found:
        chance = f"{100 * found['chance']:.1f} % by chance"
        shown.append(Figure("Neighbours of the same label", f"{100 * found['purity']:.1f} %", chance))
    time, estimate = record["timings"]["total_s"], record["estimate"]["seconds"]
    return [*shown, Figure("Time", f"{time:.1f} s", f"estimate {estimate:.1f} s")]


def _variance(report: Report, summary: Mapping[str, Any]) -> None:
    if not summary["components"]:
        return
    rows, reached = [], 0.0
    for number, share in enumerate(summary["ratio"], 1):
        reached += share
        if number <= COMPONENTS_SHOWN or number == summary["components"]:
            rows.append([str(number), f"{100 * share:.2f} %", f"{100 * reached:.2f} %"])
    note = (
        f"{summary['features']:,} features of {summary['pictures']:,} pictures, of which {summary['constant']:,} are constant; "
        "the principal components are exact: those of the whole set at once"
    )
    report.table("Explained variance", ["component", "share", "together"], rows, align=["right"] * 3, note=note)


def _classes(report: Report, summary: Mapping[str, Any]) -> None:
    labels = {name or "(no label)": count for name, count in summary["labels"].items()}
    if len(labels) > 1:
        names = sorted(labels)[:CLASSES_SHOWN]
        colours = [f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in palette(len(names))]
        counts = [ClassCount(name, labels[name], colour) for name, colour in zip(names, colours, strict=True)]
        report.classes("Labels", counts, unit="pictures")
    found = summary["separation"]
    if not found:
        return
    worst = sorted(found["classes"], key=lambda entry: (entry["purity"], entry["separation"], entry["label"]))[:CLASSES_SHOWN]
    rows = [
        [one["label"], one["count"], f"{100 * one['purity']:.0f} %", f"{one['separation']:.2f}", one["nearest"]]
        for one in worst
    ]
    note = (
        f"Of {summary['sampled']:,} pictures, the worst first. Purity: share of the {found['neighbours']} nearest neighbours "
        "with the same label. Separation: distance to the nearest other class, over the mean radius of both."
    )
    columns = ["label", "pictures", "purity", "separation", "nearest class"]
    report.table("How well the labels lie apart", columns, rows, align=["left", "right", "right", "right", "left"], note=note)
