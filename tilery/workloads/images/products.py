"""What a run on pictures publishes: the pictures, the index, the contact sheet and the report."""

from __future__ import annotations

from typing import Any

from tilery.report import Figure, FileLink, Picture, Report, size
from tilery.run import Listing, Product
from tilery.workload import Publication, Published
from tilery.workloads.images.operations import parse
from tilery.workloads.images.options import ImagesOptions
from tilery.workloads.images.place import copied, pieces

FILES = (("index", "index.parquet"), ("index", "index.json"), ("contact_sheet", "contact_sheet.jpg"))


def publish(publication: Publication[ImagesOptions]) -> Published:
    """Write all products below the run's results folder."""
    summary = publication.done["merge"][0].value
    others = [_copied(publication, kind, "merge", path) for kind, path in FILES]
    html = _page(publication, summary, others)
    others.append(publication.put("report", "report.html", html.encode()))
    counts = {"pictures": summary["pictures"], "errors": summary["errors"], "pieces": summary["pieces"]}
    listed = [Listing(kind="pictures", **done.value) for done in publication.done["place"]]
    pictures = [] if listed else _pictures(publication)
    return Published([*pictures, *others], counts, _warnings(summary), listed)


def _warnings(summary: dict[str, Any]) -> list[str]:
    if not summary["errors"]:
        return []
    codes = ", ".join(f"{count} {_words(code)}" for code, count in sorted(summary["codes"].items()))
    return [f"{summary['errors']} of {summary['pictures']} pictures are errors ({codes}); the index says why"]


def _pictures(publication: Publication[ImagesOptions]) -> list[Product]:
    lists = [str(done.item["id"]) for done in publication.done["process"]]
    return copied(publication.work, pieces(publication.work, lists))


def _copied(publication: Publication[ImagesOptions], kind: str, stage: Any, path: str) -> Product:
    return publication.put(kind, path, publication.work.store.get(publication.work.key(stage, path)))


def _page(publication: Publication[ImagesOptions], summary: dict[str, Any], files: list[Product]) -> str:
    record, work = publication.record, publication.work
    made = summary["pictures"] - summary["errors"]
    engines = ", ".join(f"{count:,} by {name}" for name, count in sorted(summary["engines"].items()))
    operations = enumerate(parse(work.options.operations), 1)
    steps = [[number, operation.name, _said(operation.model_dump(exclude_none=True))] for number, operation in operations]
    report = Report(record["dataset"], "pictures", record["status"]).holes(record.get("missing", []))
    report.figures(
        [
            Figure("Pictures", f"{summary['pictures']:,}", f"{summary['folder_count']:,} folders"),
            Figure("Made", f"{made:,}", engines),
            Figure("Errors", f"{summary['errors']:,}", ", ".join(map(_words, sorted(summary["codes"])))),
            Figure("Results", f"{summary['pieces']:,}", work.options.output),
            Figure("Read", size(sum(source.size for source in work.run.sources))),
        ]
    )
    report.warnings([*record.get("warnings", []), *_warnings(summary)])
    png = work.store.get(work.key("merge", "preview.png"))
    report.pictures("Results", [Picture(png, "Results, by folder; contact_sheet.jpg shows more.", "A contact sheet")])
    if steps:
        report.table("Operations, in order", ["Step", "Operation", "Parameters"], steps)
    folders = [
        [name or "(no folder)", entry["pictures"], entry["pictures"] - entry["errors"], entry["errors"], entry["pieces"]]
        for name, entry in summary["folders"].items()
    ]
    report.table("Folders", ["Folder", "Pictures", "Made", "Errors", "Results"], folders, note=_more(summary))
    if summary["failed"]:
        more = summary["errors"] - len(summary["failed"])
        note = f"{more:,} more are in the index." if more else ""
        failed = [[source, _words(code), reason] for source, code, reason in summary["failed"]]
        report.table("Pictures that failed", ["Source", "Error", "Reason"], failed, note=note)
    report.timings(record["timings"]["stages"], record["timings"]["total_s"])
    report.files("Files", [FileLink(file.path, file.kind, file.bytes) for file in files])
    return report.html()


def _more(summary: dict[str, Any]) -> str:
    more = summary["folder_count"] - len(summary["folders"])
    return f"{more:,} more are in the index." if more else ""


def _said(parameters: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in parameters.items())


def _words(code: str) -> str:
    return code.replace("_", " ")
