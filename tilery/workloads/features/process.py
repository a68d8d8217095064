"""Process: a list of pictures becomes rows with features, and the moments of them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from os import cpu_count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.store.port import Store
from tilery.workload import Item, Work
from tilery.workloads.features import decoding, lists, table
from tilery.workloads.features.backbone import Backbone, open_backbone
from tilery.workloads.features.decoding import Unreadable
from tilery.workloads.features.moments import Moments, fold
from tilery.workloads.features.options import BLOCK, FeaturesOptions
from tilery.workloads.features.table import Row
from tilery.workloads.features.threads import one_thread

Picture = tuple[Row, NDArray[np.uint8] | None]


def process(work: Work[FeaturesOptions], item: Item) -> dict[str, Any]:
    """Embed a list. Writes ID.arrow, and ID.npy with the moments if the drop has more pictures than a picture features."""
    backbone = open_backbone(work)
    everything = lists.pictures(work.run.sources)
    sources = everything[item["start"] : item["stop"]]
    rows: list[Row] = []
    features: list[NDArray[np.float32]] = []
    for block in _blocks(work, sources):
        found_rows, found = embedded(block, backbone)
        rows += found_rows
        features.append(found)
        work.progress(len(rows) / len(sources))
    bad = [
        {"place": item["start"] + offset, "path": row.path, "error": row.code, "reason": row.reason}
        for offset, row in enumerate(rows)
        if row.code
    ]
    if bad and work.options.fail_on_error:
        raise BadInput(f"{bad[0]['path']}: {bad[0]['reason']} (fail_on_error is set)")
    work.store.put(work.out(f"{item['id']}.arrow"), table.encode(table.rows_table(rows, np.concatenate(features))))
    value: dict[str, Any] = {
        "n": len(rows) - len(bad),
        "features": backbone.features,
        "bad": bad,
        "backbone": backbone.name,
        "digest": backbone.digest,
        "provider": backbone.provider,
        "moments": "",
    }
    if len(everything) > backbone.features:
        value["moments"] = work.out(f"{item['id']}.npy")
        with one_thread():
            work.store.put(value["moments"], fold(Moments.of(block) for block in features).encode())
    return value


def embedded(block: list[Picture], backbone: Backbone) -> tuple[list[Row], NDArray[np.float32]]:
    """The rows of a block, and the features of the good ones."""
    squares = [pixels for _, pixels in block if pixels is not None]
    if not squares:
        return [row for row, _ in block], np.zeros((0, backbone.features), np.float32)
    features = backbone.embed(np.stack(squares))
    finite = np.asarray(np.isfinite(features).all(axis=1))
    places = iter(finite)
    rows = [row if pixels is None or next(places) else _not_finite(row) for row, pixels in block]
    return rows, features[finite]


def _not_finite(row: Row) -> Row:
    return Row(row.path, row.width, row.height, "not_finite", "the backbone made of it a feature that is no finite number")


def _blocks(work: Work[FeaturesOptions], sources: list[Source]) -> Iterator[list[Picture]]:
    """Decoded blocks in order; the next is read and decoded by threads while one is embedded."""
    starts = range(0, len(sources), BLOCK)
    with ThreadPoolExecutor(min(8, 2 * (cpu_count() or 1))) as pool:

        def begin(start: int) -> list[Future[Picture]]:
            return [pool.submit(_read, work.store, source, work.options) for source in sources[start : start + BLOCK]]

        ahead = begin(0)
        for start in starts:
            block, ahead = ahead, begin(start + BLOCK)
            yield [future.result() for future in block]


def _read(store: Store, source: Source, options: FeaturesOptions) -> Picture:
    try:
        if source.refused:
            raise Unreadable("bad_name", source.refused)
        if source.size > decoding.MAX_BYTES:
            raise Unreadable("too_large", f"its file is {source.size / 1e6:.0f} MB")
        data = store.get(source.key, version=source.version)
        pixels, width, height = decoding.square(data, options.size_px, options.fit, options.max_megapixels)
    except Unreadable as error:
        return Row(source.name, code=error.code, reason=str(error)), None
    return Row(source.name, width, height), pixels
