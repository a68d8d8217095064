"""The figures and plots of a run: on a sample of pictures that is chosen by the hash of their names."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.manifold import TSNE

from tilery.workload import Done, Work
from tilery.workloads.features import lists, table
from tilery.workloads.features.merge import MODEL
from tilery.workloads.features.options import FeaturesOptions
from tilery.workloads.features.pca import Model
from tilery.workloads.features.scatter import scatter
from tilery.workloads.features.separation import figures

PLOT_PCA, PLOT_TSNE = "pca.png", "tsne.png"
ERRORS_LISTED = 200
TSNE_COMPONENTS = 50
"""t-SNE sees the first components only, as its author advises."""
PERPLEXITY = 30.0
LEAST = 5
"""Pictures below which t-SNE says nothing."""


def summarise(work: Work[FeaturesOptions], model: Model, done: list[Done]) -> dict[str, Any]:
    """Writes the plots and a copy of the model; returns the figures of the report."""
    everything = lists.pictures(work.run.sources)
    bad = [entry for one in done for entry in one.value["bad"]]
    good = _good_places(done, {entry["place"] for entry in bad})
    chosen = [good[place] for place in lists.sample([everything[place].name for place in good], work.options.sample)]
    labels = [lists.label_of(everything[place].name) for place in chosen]
    scores = model.project(_features(work, done, chosen))
    work.progress(0.3)
    work.store.put(work.out("model.npz"), work.store.get(work.key("merge", MODEL)))
    plots = _plots(work, model, scores, labels)
    known = [place for place, label in enumerate(labels) if label is not None]
    found = figures(scores[known], [str(labels[place]) for place in known]) if known and scores.shape[1] else None
    missing = len(everything) - sum(one.item["stop"] - one.item["start"] for one in done)
    return {
        "plots": plots,
        "pictures": len(good),
        "errors": len(bad),
        "not_processed": missing,
        "by_error": dict(sorted(Counter(entry["error"] for entry in bad).items())),
        "bad": bad[:ERRORS_LISTED],
        "sampled": len(chosen),
        "labels": dict(sorted(Counter(lists.label_of(everything[place].name) or "" for place in good).items())),
        "separation": asdict(found) if found else None,
        "features": done[0].value["features"],
        "backbone": done[0].value["backbone"],
        "digest": done[0].value["digest"],
        "providers": sorted({one.value["provider"] for one in done}),
        "constant": int(model.constant.sum()),
        "components": len(model.components),
        "ratio": [float(share) for share in model.ratio],
        "variance": [float(variance) for variance in model.variance],
        "total": model.total,
    }


def _good_places(done: list[Done], bad: set[int]) -> list[int]:
    return [place for one in done for place in range(one.item["start"], one.item["stop"]) if place not in bad]


def _features(work: Work[FeaturesOptions], done: list[Done], chosen: list[int]) -> NDArray[np.float32]:
    """The features of some places, list by list."""
    wanted = np.array(chosen, np.int64)
    parts = [np.zeros((0, done[0].value["features"]), np.float32)]
    for one in done:
        start, stop = one.item["start"], one.item["stop"]
        mine = wanted[(wanted >= start) & (wanted < stop)]
        if not len(mine):
            continue
        rows = table.decode(work.store.get(work.key("process", f"{one.item['id']}.arrow")))
        # a good picture's place among the good ones of its list
        rank = np.cumsum(table.good_of(rows)) - 1
        parts.append(table.features_of(rows)[rank[mine - start]])
    return np.concatenate(parts)


def _plots(work: Work[FeaturesOptions], model: Model, scores: NDArray[np.float32], labels: list[str | None]) -> list[str]:
    if scores.shape[1] < 1 or len(scores) < 2:
        return []
    plane = np.zeros((len(scores), 2))
    plane[:, : min(2, scores.shape[1])] = scores[:, :2]
    shares = [f"{100 * share:.1f} % of the variance" for share in [*model.ratio[:2], 0.0][:2]]
    axes = (f"component 1, {shares[0]}", f"component 2, {shares[1]}")
    work.store.put(work.out(PLOT_PCA), scatter(plane, labels, "Principal components", axes))
    if len(scores) < LEAST:
        return [PLOT_PCA]
    work.store.put(work.out(PLOT_TSNE), scatter(tsne(scores), labels, "t-SNE", ("t-SNE 1", "t-SNE 2")))
    return [PLOT_PCA, PLOT_TSNE]


def tsne(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, k) -> (n, 2) by Barnes-Hut t-SNE (van der Maaten, 2014), begun at the principal components, so repeatable."""
    values = np.ascontiguousarray(scores[:, :TSNE_COMPONENTS], np.float32)
    start = np.zeros((len(values), 2), np.float32)
    start[:, : min(2, values.shape[1])] = values[:, :2]
    start *= 1e-4 / (float(start[:, 0].std()) or 1.0)
    perplexity = min(PERPLEXITY, (len(values) - 1) / 3)
    found = TSNE(2, perplexity=perplexity, init=start, learning_rate="auto", random_state=0, n_jobs=1).fit_transform(values)
    return np.asarray(found, np.float64)
