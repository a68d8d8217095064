"""Does one list of pictures: children decode, this process moves files between them and the store.

All pieces of a list are one object, `packs/ID.bin`, in the order of the list; `packs` says where each lies. To write one
object costs as much CPU as to blur a piece, and on S3 a request.
"""

from __future__ import annotations

import os
import queue
import shutil
import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from tilery.workload import Item, Work
from tilery.workloads.images.crew import Hand, crew
from tilery.workloads.images.options import ImagesOptions
from tilery.workloads.images.packs import pack_key

HANDS = 4
"""Children of one worker, at most: each may hold a picture of 16 megapixels, and one of them a large one."""
AHEAD = 3
"""Pictures a hand that may be done or under way before the first of them is packed: this bounds the worker's memory."""
IN_MEMORY = 4_000_000
"""Bytes of a file up to which it is handed to a child in memory."""


def process(work: Work[ImagesOptions], item: Item) -> dict[str, Any]:
    """Make all pictures of the list; leaves its pack and `rows/ID.json`, one row a picture."""
    rows: list[dict[str, Any]] = []
    packed = 0
    with work.store.writer(work.out(pack_key(item["id"]))) as pack, closing(_in_order(work, item["pictures"])) as pictures:
        for made in pictures:
            for piece in made.row["pieces"]:
                piece.update(pack=item["id"], start=packed)
                packed += made.write(piece.pop("file"), pack)
            shutil.rmtree(made.folder, ignore_errors=True)
            rows.append(made.row)
            work.progress(len(rows) / len(item["pictures"]))
    rows.sort(key=lambda row: str(row["source"]))
    work.put_json(rows, "rows", f"{item['id']}.json")
    errors = sum(row["status"] == "error" for row in rows)
    pieces = sum(len(row["pieces"]) for row in rows)
    return {"pictures": len(rows), "errors": errors, "pieces": pieces, "bytes": packed}


@dataclass(frozen=True, slots=True)
class _Made:
    row: dict[str, Any]
    inline: dict[str, bytes]
    folder: Path
    """Holds the pieces that are not inline."""

    def write(self, file: str, pack: BinaryIO) -> int:
        """Append a piece; its size."""
        if file in self.inline:
            return pack.write(self.inline[file])
        with (self.folder / file).open("rb") as source:
            shutil.copyfileobj(source, pack, 1 << 20)
            return source.tell()


def _in_order(work: Work[ImagesOptions], pictures: list[list[Any]]) -> Generator[_Made]:
    """What became of each picture, in the order of the list, however long each takes."""
    count = min(HANDS, len(os.sched_getaffinity(0)), len(pictures))
    idle: queue.SimpleQueue[Hand] = queue.SimpleQueue()
    large = threading.Lock()

    def one(number: int, source: int, stem: str) -> _Made:
        hand = idle.get()
        try:
            return _one(work, hand, work.scratch / f"picture-{number}", source, stem)
        finally:
            idle.put(hand)

    with ExitStack() as hands, ThreadPoolExecutor(count) as pool:
        for _ in range(count):
            idle.put(hands.enter_context(Hand(work.options, work.scratch, large, crew())))
        under_way: deque[Future[_Made]] = deque()
        try:
            for number, (source, stem) in enumerate(pictures):
                under_way.append(pool.submit(one, number, source, stem))
                if len(under_way) >= AHEAD * count:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for left in under_way:
                left.cancel()


def _one(work: Work[ImagesOptions], hand: Hand, folder: Path, index: int, stem: str) -> _Made:
    source, place = work.run.sources[index], PurePosixPath(stem)
    if source.refused:
        why = {"status": "error", "code": "bad_name", "reason": source.refused}
        return _Made({"source": source.name, **why, "bytes": source.size, "sha256": "", "pieces": []}, {}, folder)
    file = Path(f"{folder}{PurePosixPath(source.name).suffix[:10]}")
    data = None
    if source.size <= IN_MEMORY:
        data = work.store.get(source.key, version=source.version)
    else:
        work.store.download(source.key, str(file), version=source.version)
    try:
        row, inline = hand.make(file, place.name, folder, data)
    finally:
        file.unlink(missing_ok=True)
    parent = "" if str(place.parent) == "." else f"{place.parent}/"
    for piece in row["pieces"]:
        piece["path"] = f"pictures/{parent}{piece['file']}"
    row = {"source": source.name, **row, "bytes": source.size, "sha256": row.get("sha256") or _known(source.digest)}
    return _Made(row, inline, folder)


def _known(digest: str) -> str:
    return digest.removeprefix("sha256:") if digest.startswith("sha256:") else ""
