"""Finish: parts of the dataset are projected with the model; one item draws the plots and works out the figures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from tilery.workload import Done, Item, Work
from tilery.workloads.features import lists, summary, table
from tilery.workloads.features.merge import MODEL
from tilery.workloads.features.options import FeaturesOptions
from tilery.workloads.features.pca import Model
from tilery.workloads.features.table import Row
from tilery.workloads.features.threads import one_thread

NOT_PROCESSED = "not_processed"


def finish(work: Work[FeaturesOptions], item: Item) -> dict[str, Any]:
    """Write a part (ID.parquet), or the summary."""
    with one_thread():
        return _finish(work, item)


def _finish(work: Work[FeaturesOptions], item: Item) -> dict[str, Any]:
    model = Model.decode(work.store.get(work.key("merge", MODEL)))
    done = work.finished("process")
    if item["id"] == lists.SUMMARY:
        return summary.summarise(work, model, done)
    rows = pa.concat_tables(list(_tables(work, item, done)))
    work.store.put(work.out(f"{item['id']}.parquet"), table.parquet(projected(work, rows, model, done)))
    good = int(table.good_of(rows).sum())
    return {"pictures": good, "errors": len(rows) - good}


def projected(work: Work[FeaturesOptions], rows: pa.Table, model: Model, done: list[Done]) -> pa.Table:
    """Rows with their scores and the digests of what made them. Without components there is no column `pca`."""
    good = table.good_of(rows)
    if len(model.components):
        rows = rows.append_column("pca", table.vectors(model.project(table.features_of(rows)), good))
    for name, digest in (("model", done[0].value["digest"]), ("options", options_digest(work.options))):
        rows = rows.append_column(name, pa.DictionaryArray.from_arrays(pa.array([0] * len(rows), pa.int32()), [digest]))
    return rows


def options_digest(options: FeaturesOptions) -> str:
    """A digest of the options that decide the numbers; those that only spread the work have no part in it."""
    names = ("backbone", "size_px", "fit", "mean", "std", "components", "scale")
    chosen = {name: value for name, value in options.model_dump(mode="json").items() if name in names}
    return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


def _tables(work: Work[FeaturesOptions], item: Item, done: list[Done]) -> Iterator[pa.Table]:
    """The rows of the part's pictures in order; those of lists that are holes say so."""
    features = done[0].value["features"]
    place = item["start"]
    for one in done:
        if one.item["stop"] <= item["start"] or one.item["start"] >= item["stop"]:
            continue
        yield from _hole(work, place, one.item["start"], features)
        yield table.decode(work.store.get(work.key("process", f"{one.item['id']}.arrow")))
        place = one.item["stop"]
    yield from _hole(work, place, item["stop"], features)


def _hole(work: Work[FeaturesOptions], start: int, stop: int, features: int) -> Iterator[pa.Table]:
    if start < stop:
        names = [source.name for source in lists.pictures(work.run.sources)[start:stop]]
        reason = "its list could not be worked on; the run is PARTIAL"
        rows = [Row(name, code=NOT_PROCESSED, reason=reason) for name in names]
        yield table.rows_table(rows, np.zeros((0, features), np.float32))
