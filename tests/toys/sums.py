"""A workload of a few lines on the same spine: sums of numbers in text files. It is quick, exact, and can be told to fail.

Tile: a run of lines of one file. Process: their squares' sum. Merge: a tree of two. Finish: each file's share of the total.
Place, if asked: a product a file, named in a list of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from pydantic import Field

from tilery.options import Options
from tilery.outcomes import BadInput, Outcome, OutOfMemory, Transient
from tilery.run import Listing, Product, Source
from tilery.store.port import Store
from tilery.workload import Done, Item, Publication, Published, Sizing, Stage, StageName, Work, Workload


class SumsOptions(Options):
    lines: int = Field(10, ge=1, description="Lines a tile.")
    scale: int = Field(1, description="Read by finish alone.")
    fail: dict[str, str] = Field(default_factory=dict, description="Item id -> how its process ends: an outcome, kill, or oom.")
    once: bool = Field(False, description="Items in `fail` fail only the first time.")
    apart: bool = Field(False, description="Each file's sum is a product that `place` writes.")
    sleep_s: float = Field(0.0, ge=0, description="Seconds that each process item takes.")


class Sums(Workload[SumsOptions]):
    name = "sums"
    suffixes = (".txt",)
    unit = "lines"
    Options = SumsOptions
    stages: ClassVar[Mapping[StageName, Stage]] = {
        "tile": Stage(options=("lines",), work_per_job=100),
        "process": Stage(work_per_job=20, holes=True),
        "merge": Stage(fan_in=2),
        "finish": Stage(options=("scale",)),
        "place": Stage(options=("apart",)),
    }

    def size(self, sources: list[Source], options: SumsOptions, store: Store) -> Sizing:
        items: list[Item] = []
        total = 0
        for number, source in enumerate(sources):
            lines = store.get(source.key, version=source.version).split()
            if not all(line.lstrip(b"-").isdigit() for line in lines):
                raise BadInput(f"{source.name} holds something that is not a whole number; one number a line is wanted")
            items.append({"id": f"f{number}", "work": len(lines), "file": number})
            total += len(lines)
        return Sizing(work=total, items=items, counts={"lines": total})

    def items(self, work: Work[SumsOptions], before: list[Done]) -> Iterable[Item]:
        if work.stage == "place" and not work.options.apart:
            return []
        if work.stage == "process":
            return [
                {"id": f"{done.item['id']}-{number}", "work": 1, "file": done.item["file"], "part": number}
                for done in before
                for number in range(done.value["parts"])
            ]
        return [{"id": f"f{number}", "work": 1, "file": number} for number in range(len(work.run.sources))]

    def tile(self, work: Work[SumsOptions], item: Item) -> dict[str, Any]:
        source = work.run.sources[item["file"]]
        lines = [int(line) for line in work.store.get(source.key, version=source.version).split()]
        parts = [lines[start : start + work.options.lines] for start in range(0, len(lines), work.options.lines)]
        for number, part in enumerate(parts):
            work.put_json(part, item["id"], f"{number}.json")
        return {"parts": len(parts)}

    def process(self, work: Work[SumsOptions], item: Item) -> dict[str, Any]:
        _note_call(work, item)
        _fail(work, item)
        time.sleep(work.options.sleep_s)
        numbers = work.get_json("tile", f"f{item['file']}", f"{item['part']}.json")
        return {"sum": sum(number * number for number in numbers)}

    def merge(self, work: Work[SumsOptions], item: Item) -> dict[str, Any]:
        total = sum(value["sum"] for value in item["values"])
        if item["last"]:
            work.put_json(total, "total.json")
        return {"sum": total}

    def finish(self, work: Work[SumsOptions], item: Item) -> dict[str, Any]:
        total = work.get_json("merge", "total.json")
        return {"scaled": total * work.options.scale, "name": work.run.sources[item["file"]].name}

    def place(self, work: Work[SumsOptions], item: Item) -> dict[str, Any]:
        _note_call(work, item)
        body = json.dumps(next(done.value for done in work.finished("finish") if done.item["id"] == item["id"])).encode()
        digest = {"algorithm": "sha256", "value": hashlib.sha256(body).hexdigest()}
        product = Product(kind="apart", path=f"apart/{item['id']}.json", bytes=len(body), digest=digest)
        work.store.put(f"{work.results}/{product.path}", body)
        work.store.put(f"{work.results}/products/{item['id']}.jsonl", product.model_dump_json().encode() + b"\n")
        return {"path": f"products/{item['id']}.jsonl", "count": 1, "bytes": len(body)}

    def publish(self, publication: Publication[SumsOptions]) -> Published:
        body = json.dumps([done.value for done in publication.done["finish"]], sort_keys=True).encode()
        key = f"{publication.folder}/sums.json"
        publication.work.store.put(key, body)
        digest = publication.work.store.digest(key)
        product = Product(
            kind="sums", path="sums.json", bytes=len(body), digest={"algorithm": digest.algorithm, "value": digest.value}
        )
        return Published([product], listed=[Listing(kind="apart", **done.value) for done in publication.done["place"]])


def _note_call(work: Work[SumsOptions], item: Item) -> None:
    """One object a call, so that tests count how often an item was really processed."""
    work.store.put(work.out("calls", f"{item['id']}.{time.time_ns()}"), b"")


def _fail(work: Work[SumsOptions], item: Item) -> None:
    kind = work.options.fail.get(item["id"])
    if kind is None or (work.options.once and not work.store.create(work.out("failed-once", item["id"]), b"")):
        return
    if kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    outcomes: dict[str, type[Outcome]] = {"BadInput": BadInput, "Transient": Transient, "oom": OutOfMemory}
    raise outcomes.get(kind, Outcome)(f"{item['id']} was told to fail with {kind}")
