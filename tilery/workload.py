"""The one shape of all workloads: size -> tile -> process -> merge -> finish -> place -> publish.

A workload says what its stages are and implements their verbs. Each verb is pure in this sense: from one item, and what
earlier stages left in the store, it writes objects below its stage's folder and returns a small JSON value. It may run
twice, at once, or on another machine; the result is the same.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

from tilery import keys
from tilery.device import GpuLibrary
from tilery.options import Options
from tilery.run import Listing, Product, Run, Source
from tilery.store.port import Store

StageName = Literal["tile", "process", "merge", "finish", "place"]
Item = dict[str, Any]
"""One line of a stage's list: `id` (unique, `[A-Za-z0-9._-]`), `work` (cost in the workload's unit), what the verb reads."""

ALL = 0
"""Fan-in of a merge that takes everything at once, in order."""

O = TypeVar("O", bound=Options)


@dataclass(frozen=True, slots=True)
class Stage:
    """What the spine must know of one stage."""

    options: tuple[str, ...] = ()
    """The options that this stage reads: with the stage before, they make its fingerprint."""
    facts: tuple[str, ...] = ()
    """What of the sizing's facts enters the fingerprint too: what this stage reads and `identity` leaves out."""
    fan_in: int = ALL
    """Of merge only: how many parts one merge takes; `ALL` for everything at once."""
    work_per_job: float = 1.0
    """How much work is packed into one job, in the workload's unit."""
    holes: bool = False
    """Whether a product can do without some of these items, if the run's `tolerate` allows it."""


@dataclass(frozen=True, slots=True)
class Done:
    """A finished item: its list line and what its verb returned."""

    item: Item
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sizing:
    """What `size` learned from headers alone."""

    work: float
    """Total cost in the workload's unit (points, frames, pixels): decides the lane."""
    items: list[Item]
    """The items of the first stage."""
    counts: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    memory_mib: float = 0.0
    """The peak of doing the whole drop in one worker: a lane with less is not chosen."""


@dataclass(frozen=True)
class Work(Generic[O]):
    """All that a verb may touch: the run, the store, its stage's folder, a scratch folder."""

    run: Run
    options: O
    store: Store
    stage: StageName
    folders: Mapping[str, str]
    """Stage -> key prefix of its output (no trailing slash), for this stage and those before it."""
    scratch: Path
    """An empty local folder, deleted after the item."""
    missing: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Stage -> ids of tolerated holes in the stages before."""
    finished: Callable[[StageName], list[Done]] = lambda stage: []
    """The finished items of a stage before this one, in order."""
    device: str = "cpu"
    """`cpu` or `gpu`, decided by the worker and said in the run record."""
    results: str = ""
    """Key prefix of the run's products (no trailing slash): only `place` writes there, and `publish` after it."""
    progress: Callable[[float], None] = lambda share: None
    """Called with the share of the item that is done, 0 to 1."""

    def key(self, stage: StageName, *names: str) -> str:
        """A key below the output folder of a stage."""
        return keys.join(self.folders[stage], *names)

    def out(self, *names: str) -> str:
        """A key below this stage's own output folder."""
        return self.key(self.stage, *names)

    def put_json(self, value: Any, *names: str) -> None:
        self.store.put(self.out(*names), json.dumps(value, sort_keys=True).encode())

    def get_json(self, stage: StageName, *names: str) -> Any:
        return json.loads(self.store.get(self.key(stage, *names)))


@dataclass(frozen=True)
class Publication(Generic[O]):
    """What `publish` works on: every stage's finished items, and the folder of the products."""

    work: Work[O]
    folder: str
    """Key prefix of the results (no trailing slash)."""
    done: Mapping[str, list[Done]]
    missing: Mapping[str, list[str]]
    """Stage -> ids of items that are holes in a PARTIAL run."""
    record: Mapping[str, Any]
    """What the report may show of the run: status, lane, device, timings, estimate, warnings."""

    def key(self, path: str) -> str:
        """The key of a product's path."""
        return keys.join(self.folder, path)

    def put(self, kind: str, path: str, data: bytes, source: str | None = None) -> Product:
        """Write a product."""
        self.work.store.put(self.key(path), data)
        return self.product(kind, path, source)

    def upload(self, kind: str, file: Path, path: str = "") -> Product:
        """Publish a local file, under its own name if no path is given."""
        self.work.store.upload(str(file), self.key(path or file.name))
        return self.product(kind, path or file.name)

    def product(self, kind: str, path: str, source: str | None = None) -> Product:
        """What run.json says of a product that is in its place."""
        entry, digest = self.work.store.head(self.key(path)), self.work.store.digest(self.key(path))
        value = {"algorithm": digest.algorithm, "value": digest.value}
        return Product(kind=kind, path=path, source=source, bytes=entry.size if entry else 0, digest=value)


@dataclass(frozen=True, slots=True)
class Published:
    """What `publish` made: the products, and what it learned for the run record."""

    products: list[Product]
    counts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    listed: list[Listing] = field(default_factory=list)
    """Products that `place` wrote, list by list, instead of one by one."""


class Workload(ABC, Generic[O]):
    """One kind of work. Subclasses live in tilery/workloads/NAME and are found through the registry."""

    name: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    """Lower-case file name endings that a drop may hold; others are refused."""
    takes_bad_files: ClassVar[bool] = False
    """Whether a file of 0 bytes, or of a name that no key may have (`Source.refused`), is one bad item among others; else it
    stops the run."""
    needs: ClassVar[tuple[str, ...]] = ()
    """Modules that its verbs import and that one machine may not have (its containers/NAME/requirements.txt)."""
    gpu: ClassVar[GpuLibrary] = ""
    """What computes on a GPU; empty where nothing does: the workload then has no GPU lane and no CUDA image."""
    unit: ClassVar[str]
    """What `work` counts, in the plural: points, frames, pixels."""
    stages: ClassVar[Mapping[StageName, Stage]]
    """The stages this workload has, in order."""
    Options: type[O]

    @abstractmethod
    def size(self, sources: list[Source], options: O, store: Store) -> Sizing:
        """Read headers by range reads and plan the first stage. Raises `BadInput` naming the file."""

    def identity(self, sources: list[Source]) -> list[Any]:
        """What of the inputs decides the results: names and contents, or less. Inputs that agree in it are worked on once."""
        return [[source.name, source.digest] for source in sorted(sources, key=lambda source: source.name)]

    def items(self, work: Work[O], before: list[Done]) -> Iterable[Item]:
        """The items of `work.stage`, from the finished items of the stage before. Not asked for merge."""
        raise NotImplementedError(f"{self.name} has no items for {work.stage}")

    def tile(self, work: Work[O], item: Item) -> dict[str, Any]:
        raise NotImplementedError

    def process(self, work: Work[O], item: Item) -> dict[str, Any]:
        raise NotImplementedError

    def merge(self, work: Work[O], item: Item) -> dict[str, Any]:
        """Merge parts. `item["parts"]` are the ids of the stage before (round 0) or of the round before;
        `item["values"]` what they returned; `item["last"]` is true for the one that remains."""
        raise NotImplementedError

    def finish(self, work: Work[O], item: Item) -> dict[str, Any]:
        raise NotImplementedError

    def place(self, work: Work[O], item: Item) -> dict[str, Any]:
        """Write some products below `work.results`, where they are too many for `publish`: the one stage whose output is the
        run's own, and is not shared with others. Nobody sees them as products before `publish` has written run.json."""
        raise NotImplementedError

    @abstractmethod
    def publish(self, publication: Publication[O]) -> Published:
        """Write the products below `publication.folder`; the spine writes run.json afterwards. Idempotent."""

    def tidy(self, store: Store, tenant: str) -> dict[str, Any]:
        """Once a day: free what none of the tenant's data needs any more, and say what that was; empty by default.

        Light, since a control function calls it; safe at any moment, and twice at once.
        """
        return {}

    def whole(self, work: Work[O], items: list[Item]) -> list[Done] | None:
        """Do a small drop in one worker, leaving in the last stage's folder exactly what the stages would have left.

        Returns that stage's finished items; None (the default) lets the spine run every stage in this worker.
        `work.stage` is the last stage but `place`.
        """
        return None
