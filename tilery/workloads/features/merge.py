"""Merge: the lists' moments become one model in a tree; the last merge solves it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tilery.outcomes import BadInput
from tilery.workload import Item, Work
from tilery.workloads.features import pca, table
from tilery.workloads.features.moments import Moments, fold
from tilery.workloads.features.options import FeaturesOptions
from tilery.workloads.features.threads import one_thread

MODEL = "model.npz"


def merge(work: Work[FeaturesOptions], item: Item) -> dict[str, Any]:
    """Merge neighbours. The last one writes model.npz. Raises `BadInput` if no picture of the whole drop could be read."""
    with one_thread():
        return _merge(work, item)


def _merge(work: Work[FeaturesOptions], item: Item) -> dict[str, Any]:
    values = item["values"]
    merged = {
        **values[0],
        "n": sum(value["n"] for value in values),
        "bad": [bad for value in values for bad in value["bad"]][:3],
    }
    if not item["last"]:
        return {**merged, "moments": _merged(work, item) if merged["moments"] else ""}
    if not merged["n"]:
        first = merged["bad"][0]
        raise BadInput(f"no picture of the drop could be read; the first is {first['path']}: {first['reason']}")
    model = _from_moments(work, values) if merged["moments"] else _from_features(work)
    work.store.put(work.out(MODEL), model.encode())
    return {**merged, "moments": "", "components": len(model.components)}


def _merged(work: Work[FeaturesOptions], item: Item) -> str:
    key = work.out(f"{item['id']}.npy")
    work.store.put(key, _folded(work, item["values"]).encode())
    return key


def _folded(work: Work[FeaturesOptions], values: list[dict[str, Any]]) -> Moments:
    return fold(Moments.decode(work.store.get(value["moments"])) for value in values)


def _from_moments(work: Work[FeaturesOptions], values: list[dict[str, Any]]) -> pca.Model:
    return pca.from_moments(_folded(work, values), work.options.components, work.options.scale)


def _from_features(work: Work[FeaturesOptions]) -> pca.Model:
    """No more pictures than features: all of them are at hand at once."""
    lists = [work.key("process", f"{done.item['id']}.arrow") for done in work.finished("process")]
    features = np.concatenate([table.features_of(table.decode(work.store.get(key))) for key in lists])
    return pca.from_features(features, work.options.components, work.options.scale)
