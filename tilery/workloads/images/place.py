"""Copies pieces from the packs of the lists to where products lie: so many that `publish` could not, by many workers at once.

A product is an object of its own, so a request is the least that it costs. One function sends some 600 a second: up to
`ALONE` pieces are left to `publish`, and stand in run.json one by one. More are dealt to the items of `place`, each of which
leaves a list of its products beside them. Which of both it is depends on the number of pieces alone, never on the lane.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from tilery import keys
from tilery.run import Product
from tilery.workload import Done, Item, Work
from tilery.workloads.images.options import ImagesOptions
from tilery.workloads.images.packs import content, span

ALONE = 20_000
"""Pieces that `publish` copies itself: half a minute of requests, and 6 MB of run.json."""
PIECES = 20_000
"""Pieces of an item of `place`, at most: a list may hold pictures that were cut into ten thousands."""
EACH_MB = 8.0
"""What a megabyte costs a worker that reads and writes it, in requests."""
WRITERS = 16
BATCH_PIECES, BATCH_BYTES = 64, 4 << 20
"""Neighbours in a pack are read at once, up to so many; a larger piece is copied by the store."""

Piece = tuple[str, dict[str, Any]]
"""A source's name and one of its pieces."""


def items(lists: list[Done]) -> list[Item]:
    """What is to be copied, of the finished items of `process`; nothing where `publish` can do it alone."""
    if sum(done.value["pieces"] for done in lists) <= ALONE:
        return []
    return [_item(done, start) for done in lists for start in range(0, done.value["pieces"], PIECES)]


def _item(done: Done, start: int) -> Item:
    name, pieces = str(done.item["id"]), int(done.value["pieces"])
    count = min(PIECES, pieces - start)
    work = count + EACH_MB * done.value["bytes"] / 1e6 * count / pieces
    return {"id": f"{name}-{start // PIECES:05d}", "work": work, "list": name, "start": start, "stop": start + count}


def place(work: Work[ImagesOptions], item: Item) -> dict[str, Any]:
    """Copy the item's pieces; leaves `products/ID.jsonl` beside them, and returns what run.json says of it."""
    path = f"products/{item['id']}.jsonl"
    products = copied(work, list(pieces(work, [item["list"]]))[item["start"] : item["stop"]])
    lines = "".join(json.dumps(product.model_dump(), ensure_ascii=False) + "\n" for product in products)
    work.store.put(keys.join(work.results, path), lines.encode())
    return {"path": path, "count": len(products), "bytes": sum(product.bytes for product in products)}


def pieces(work: Work[ImagesOptions], lists: Iterable[str]) -> Iterator[Piece]:
    """All pieces of some lists, in order."""
    for name in lists:
        for row in work.get_json("process", "rows", f"{name}.json"):
            for piece in row["pieces"]:
                yield row["source"], piece


def copied(work: Work[ImagesOptions], wanted: Iterable[Piece]) -> list[Product]:
    """Put pieces where products lie. The same bytes at the same keys, however often."""

    def copy(batch: list[Piece]) -> list[Product]:
        if batch[0][1]["bytes"] > BATCH_BYTES:
            for _, piece in batch:
                work.store.compose(keys.join(work.results, piece["path"]), [span(work, piece)])
        else:
            for (_, piece), data in zip(batch, content(work, [piece for _, piece in batch]), strict=True):
                work.store.put(keys.join(work.results, piece["path"]), data)
        return [_product(source, piece) for source, piece in batch]

    products: list[Product] = []
    under_way: deque[Future[list[Product]]] = deque()
    with ThreadPoolExecutor(WRITERS) as pool:
        for batch in batches(wanted):
            under_way.append(pool.submit(copy, batch))
            if len(under_way) > 2 * WRITERS:
                products += under_way.popleft().result()
        for left in under_way:
            products += left.result()
    return products


def batches(wanted: Iterable[Piece]) -> Iterator[list[Piece]]:
    """Neighbours in one pack, few enough to be held by each of some writers; a large piece is alone."""
    batch: list[Piece] = []
    size = 0
    for one in wanted:
        piece = one[1]
        size += piece["bytes"]
        if batch and (piece["pack"] != batch[0][1]["pack"] or size > BATCH_BYTES or len(batch) >= BATCH_PIECES):
            yield batch
            batch, size = [], piece["bytes"]
        batch.append(one)
    if batch:
        yield batch


def _product(source: str, piece: dict[str, Any]) -> Product:
    digest = {"algorithm": "sha256", "value": piece["sha256"]}
    return Product(kind="pictures", path=piece["path"], source=source, bytes=piece["bytes"], digest=digest)
