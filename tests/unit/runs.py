"""Drops files and does their run by the library alone, without a state machine; and what such a run publishes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar

from tests import machine
from tests.toys import environment
from tilery import keys, manifest, publishing, registry, sizing, whole
from tilery.run import Record
from tilery.store import open_store
from tilery.store.port import Store

Files = Path | Sequence[Path] | Mapping[str, Path]
"""One file, several under their own names, or by the name that each is to have."""


class Result:
    """The products of a run."""

    def __init__(self, store: Store, record: Record) -> None:
        self.record, self._store = record, store
        self._folder = keys.result(record.tenant, record.workload, record.dataset, record.run_id)

    def bytes(self, path: str) -> bytes:
        return self._store.get(f"{self._folder}/{path}")

    def text(self, path: str) -> str:
        return self.bytes(path).decode()

    def json(self, path: str) -> Any:
        return json.loads(self.bytes(path))

    def rows(self, path: str) -> list[dict[str, str]]:
        """Of a CSV file without quotes."""
        head, *lines = [line.split(",") for line in self.text(path).splitlines()]
        return [dict(zip(head, line, strict=True)) for line in lines]

    def digests(self, *without: str) -> dict[str, str]:
        """Of every product but the report, which tells times."""
        return {one.path: one.digest["value"] for one in self.record.products if one.kind not in ("report", *without)}


R = TypeVar("R", bound=Result)


class Runs(Generic[R]):
    """Every run is of a dataset of its own."""

    def __init__(self, store: Store, workload: str, usual: Mapping[str, Any], made: Callable[[Store, Record], R]) -> None:
        self.store, self._workload, self._usual, self._made, self._count = store, workload, usual, made, 0

    def drop(self, files: Files, options: Mapping[str, Any]) -> str:
        """The run id of a new dataset with these files."""
        self._count += 1
        folder = f"drop/acme/{self._workload}/set{self._count}"
        if isinstance(files, Path):
            files = [files]
        named = files if isinstance(files, Mapping) else {path.name: path for path in files}
        for name, path in named.items():
            self.store.upload(str(path), f"{folder}/{name}")
        key = f"{folder}/{keys.READY}"
        self.store.put(key, json.dumps({"options": dict(options)}).encode())
        entry = self.store.head(key)
        assert entry is not None
        return manifest.receive(self.store, "drop", key, entry.version).run_id

    def run(self, files: Files, lane: str = "lambda", **options: Any) -> R:
        run_id = self.drop(files, {"lane": lane, **self._usual, **options})
        sizing.size(self.store, "acme", run_id)
        if lane == "lambda":
            whole.whole(self.store, "acme", run_id)
        else:
            machine.every_stage(self.store, run_id)
        return self._made(self.store, publishing.publish(self.store, "acme", run_id))


@contextmanager
def running(root: Path, **more: str) -> Iterator[Store]:
    """A store below `root` that runs find by the environment, which gets `more` besides."""
    with environment({**more, "TILERY_STORE": root.as_uri()}):
        registry.load.cache_clear()
        yield open_store("acme")
