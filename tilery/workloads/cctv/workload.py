"""CCTV: video becomes detections, tracks, counts and heat maps. Each verb is a module of its own, imported when used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from tilery.run import Source
from tilery.store.port import Store
from tilery.workload import ALL, Done, Item, Publication, Published, Sizing, Stage, StageName, Work, Workload
from tilery.workloads.cctv.options import CctvOptions

SEEN = (
    "frame_hz", "segment_s", "detector", "classes", "score", "detect_hz", "slices", "still", "view",
    "dedup", "dedup_error", "max_megapixels", "max_hours",
)  # fmt: skip
"""What decides the detections. Lines, zones, calibration and the time of day are not among them: changing those detects
nothing again."""
TOLD = ("camera", "zone", "gap_s", "gate", "lines", "zones", "calibration", "bin_s", "max_speed_kmh", "blur")

FILMED = 2_000
"""Frames that a function draws and encodes at once: at 4K, decoded on less than two cores, in a fifth of the time it has."""


class Cctv(Workload[CctvOptions]):
    """Time segments are detected apart; one tracker then passes over all of them."""

    name = "cctv"
    suffixes = (
        ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".jpg", ".jpeg", ".png", ".json", ".onnx",
        "seqinfo.ini",
    )  # fmt: skip
    gpu = "onnxruntime"
    unit = "frames"
    needs = ("numpy", "scipy", "av", "cv2", "onnx", "onnxruntime", "pyarrow", "rasterio", "zstandard")
    Options = CctvOptions
    stages: ClassVar[Mapping[StageName, Stage]] = {
        "process": Stage(options=SEEN, facts=("timeline",), work_per_job=40_000, holes=True),
        "merge": Stage(options=TOLD, facts=("start",), fan_in=ALL),
        "finish": Stage(options=("annotate", "film_px"), work_per_job=FILMED, holes=True),
    }

    def size(self, sources: list[Source], options: CctvOptions, store: Store) -> Sizing:
        from tilery.workloads.cctv.calibration import ground
        from tilery.workloads.cctv.sizing import size

        sizing = size(sources, options, store)
        if options.calibration is not None:
            width, height = sizing.facts["frame_size"]
            ground(options.calibration, (width, height))  # what is wrong with it is better known before hours of work
        return sizing

    def identity(self, sources: list[Source]) -> list[Any]:
        """Names count by where they put clips on the timeline alone: the same video under another name is the same."""
        from tilery.workloads.cctv.sizing import identity

        return identity(sources) or super().identity(sources)

    def items(self, work: Work[CctvOptions], before: list[Done]) -> Iterable[Item]:
        return [done.item for done in work.finished("process")] if work.options.annotate else []

    def process(self, work: Work[CctvOptions], item: Item) -> dict[str, Any]:
        from tilery.workloads.cctv.segment import process

        return process(work, item)

    def merge(self, work: Work[CctvOptions], item: Item) -> dict[str, Any]:
        from tilery.workloads.cctv.analysis import merge

        return merge(work, item)

    def finish(self, work: Work[CctvOptions], item: Item) -> dict[str, Any]:
        from tilery.workloads.cctv.annotate import finish

        return finish(work, item)

    def tidy(self, store: Store, tenant: str) -> dict[str, Any]:
        from tilery.workloads.cctv.dedup.collect import daily

        return daily(store, tenant)

    def publish(self, publication: Publication[CctvOptions]) -> Published:
        from tilery.workloads.cctv.products import publish

        return publish(publication)
