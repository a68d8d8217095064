"""Pictures: ordered operations on batches. Each verb is a module of its own, imported when used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from tilery.run import Source
from tilery.store.port import Store
from tilery.workload import Done, Item, Publication, Published, Sizing, Stage, StageName, Work, Workload
from tilery.workloads.images.lists import size
from tilery.workloads.images.options import ImagesOptions


class Images(Workload[ImagesOptions]):
    """Lists of pictures are worked on; the merge gathers their index and draws a contact sheet; `place` copies many pieces."""

    name = "images"
    suffixes = ("",)
    takes_bad_files = True
    """Any file: one that is not a picture is a row of the index that says so."""
    needs = ("font_roboto", "numpy", "PIL", "pyarrow", "pyvips")
    unit = "bytes"
    Options = ImagesOptions
    stages: ClassVar[Mapping[StageName, Stage]] = {
        "process": Stage(
            options=(
                "operations",
                "output",
                "quality",
                "background",
                "frames",
                "metadata",
                "max_megapixels",
                "timeout_s",
            ),
            work_per_job=256e6,
            holes=True,
        ),
        "merge": Stage(options=("sheet", "fail_on_error")),
        "place": Stage(work_per_job=60_000),
    }

    def size(self, sources: list[Source], options: ImagesOptions, store: Store) -> Sizing:
        return size(sources, options)

    def items(self, work: Work[ImagesOptions], before: list[Done]) -> Iterable[Item]:
        from tilery.workloads.images.place import items

        return items(work.finished("process"))

    def process(self, work: Work[ImagesOptions], item: Item) -> dict[str, Any]:
        from tilery.workloads.images.process import process

        return process(work, item)

    def merge(self, work: Work[ImagesOptions], item: Item) -> dict[str, Any]:
        from tilery.workloads.images.index import merge

        return merge(work, item)

    def place(self, work: Work[ImagesOptions], item: Item) -> dict[str, Any]:
        from tilery.workloads.images.place import place

        return place(work, item)

    def publish(self, publication: Publication[ImagesOptions]) -> Published:
        from tilery.workloads.images.products import publish

        return publish(publication)
