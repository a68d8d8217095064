"""What a features run publishes: the dataset in Parquet parts, the model, the plots, the report."""

from __future__ import annotations

import json
from typing import Any

from tilery.report import Picture
from tilery.run import Product
from tilery.store.port import Span
from tilery.workload import Publication, Published
from tilery.workloads.features import lists
from tilery.workloads.features.options import FeaturesOptions
from tilery.workloads.features.page import page

CAPTIONS = {
    "tsne.png": (
        "t-SNE of the first principal components: what lies near is alike; distances between groups say little",
        "t-SNE",
    ),
    "pca.png": ("The first two principal components", "Principal components"),
}


def publish(publication: Publication[FeaturesOptions]) -> Published:
    """Write all products below the run's results folder. Parts are copied as they are."""
    work = publication.work
    summary = next(done.value for done in publication.done["finish"] if done.item["id"] == lists.SUMMARY)
    parts = [str(done.item["id"]) for done in publication.done["finish"] if done.item["id"] != lists.SUMMARY]
    products = [_copied(publication, "features", work.out(f"{part}.parquet"), f"features/{part}.parquet") for part in parts]
    products.append(_copied(publication, "model", work.out("model.npz"), "model.npz"))
    products.append(publication.put("model", "model.json", _model_json(publication, summary)))
    products += [_copied(publication, "plot", work.out(name), name) for name in summary["plots"]]
    pictures = [Picture(work.store.get(work.out(name)), *CAPTIONS[name]) for name in reversed(summary["plots"])]
    warnings = _warnings(work.options, summary, str(publication.record["device"]))
    html = page({**publication.record, "warnings": [*publication.record["warnings"], *warnings]}, summary, products, pictures)
    products.append(publication.put("report", "report.html", html.encode()))
    counts = {"embedded": summary["pictures"], "errors": summary["errors"], "components": summary["components"]}
    return Published(products, counts=counts, warnings=warnings)


def _model_json(publication: Publication[FeaturesOptions], summary: dict[str, Any]) -> bytes:
    """The model in words: what model.npz holds, and how to make features like these."""
    options = publication.work.options
    body = {
        "schema": 1,
        "backbone": {"name": summary["backbone"], "sha256": summary["digest"], "features": summary["features"]},
        "preprocessing": {
            name: options.model_dump(mode="json")[name] for name in ("size_px", "fit", "mean", "std", "backbone", "scale")
        },
        "pictures": summary["pictures"],
        "constant_features": summary["constant"],
        "components": summary["components"],
        "explained_variance": summary["variance"],
        "explained_variance_ratio": summary["ratio"],
        "total_variance": summary["total"],
        "arrays": "model.npz: n, mean (d), scale (d), constant (d), components (k, d), explained_variance (k), spectrum",
        "projection": "pca = (features - mean) / scale @ components.T",
    }
    return json.dumps(body, indent=2, sort_keys=True).encode()


def _warnings(options: FeaturesOptions, summary: dict[str, Any], device: str) -> list[str]:
    warnings = []
    if "gpu" in device and "CPUExecutionProvider" in summary["providers"]:
        warnings.append("a GPU was there, but ONNX Runtime has no CUDA: the backbone ran on the CPU; install onnxruntime-gpu")
    if summary["errors"]:
        kinds = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in summary["by_error"].items())
        warnings.append(f"{summary['errors']} of {summary['errors'] + summary['pictures']} pictures gave no features: {kinds}")
    if options.components >= 1 and summary["components"] < options.components:
        warnings.append(f"{options.components} components were asked for, but these pictures have only {summary['components']}")
    elif not summary["components"]:
        alike = "one picture differs from no other" if summary["pictures"] == 1 else "the pictures do not differ"
        warnings.append(f"{alike}, so there are no principal components")
    return warnings


def _copied(publication: Publication[FeaturesOptions], kind: str, key: str, path: str) -> Product:
    store = publication.work.store
    entry = store.head(key)
    store.compose(publication.key(path), [Span(key, 0, entry.size if entry else 0)])
    return publication.product(kind, path)
