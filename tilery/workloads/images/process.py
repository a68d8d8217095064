"""Does one list of pictures: children decode, this process moves files between them and the store."""

from __future__ import annotations

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from tilery.store.port import Store
from tilery.workload import Item, Work
from tilery.workloads.images.crew import Hand
from tilery.workloads.images.options import ImagesOptions

HANDS = 4
"""Children of one worker, at most: each may hold a large picture."""
ALONE = 4_000_000
"""Bytes from which a picture is worked on while no other large one is: this bounds the worker's memory."""
AT_ONCE = 16 * 2**20
"""Bytes up to which a result is put in one piece."""


def process(work: Work[ImagesOptions], item: Item) -> dict[str, Any]:
    """Make all pictures of the list; leaves `pictures/...` and `rows/ID.json`, one row a picture."""
    pictures: list[tuple[int, str]] = [(number, stem) for number, stem in item["pictures"]]
    hands = min(HANDS, len(os.sched_getaffinity(0)), len(pictures))
    crowd = _Crowd(work, len(pictures))
    with ThreadPoolExecutor(hands) as pool:
        shares = [pool.submit(crowd.share, pictures[start::hands], start) for start in range(hands)]
        rows = sorted((row for share in shares for row in share.result()), key=lambda row: str(row["source"]))
    work.put_json(rows, "rows", f"{item['id']}.json")
    errors = sum(row["status"] == "error" for row in rows)
    return {"pictures": len(rows), "errors": errors, "pieces": sum(len(row["pieces"]) for row in rows)}


class _Crowd:
    """What the threads of one list share."""

    def __init__(self, work: Work[ImagesOptions], count: int) -> None:
        self._work = work
        self._count = count
        self._done = 0
        self._lock = threading.Lock()
        self._large = threading.Lock()

    def share(self, pictures: list[tuple[int, str]], number: int) -> list[dict[str, Any]]:
        scratch = self._work.scratch / f"hand-{number}"
        scratch.mkdir()
        with Hand(self._work.options, scratch) as hand:
            return [self._one(hand, scratch, index, stem) for index, stem in pictures]

    def _one(self, hand: Hand, scratch: Path, index: int, stem: str) -> dict[str, Any]:
        source = self._work.run.sources[index]
        file, folder = scratch / f"source{PurePosixPath(source.name).suffix[:10]}", scratch / "made"
        folder.mkdir()
        try:
            self._work.store.download(source.key, str(file), version=source.version)
            if source.size >= ALONE:
                with self._large:
                    row = hand.make(file, PurePosixPath(stem).name, folder)
            else:
                row = hand.make(file, PurePosixPath(stem).name, folder)
            parent = str(PurePosixPath(stem).parent)
            for piece in row["pieces"]:
                name = piece.pop("file")
                piece["path"] = f"pictures/{name}" if parent == "." else f"pictures/{parent}/{name}"
                _put(self._work.store, folder / name, self._work.out(piece["path"]))
        finally:
            file.unlink(missing_ok=True)
            shutil.rmtree(folder)
        with self._lock:
            self._done += 1
            self._work.progress(self._done / self._count)
        return {"source": source.name, **row, "bytes": source.size, "sha256": row.get("sha256") or _known(source.digest)}


def _put(store: Store, file: Path, key: str) -> None:
    if file.stat().st_size <= AT_ONCE:
        store.put(key, file.read_bytes())
    else:
        store.upload(str(file), key)


def _known(digest: str) -> str:
    return digest.removeprefix("sha256:") if digest.startswith("sha256:") else ""
