"""What a drop is made of: reads a drop key, pins the versions of its files, checks `_READY.json`.

A key of the wrong shape is ignored, and the reason is said. A key of the right shape always becomes a run, even if its
content is bad: then the manifest carries the refusal, and the run fails with it where a person looks.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import time
from collections import Counter
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tilery import keys, ledger, registry
from tilery.options import parse
from tilery.outcomes import BadInput
from tilery.run import Manifest, Source, Trigger
from tilery.store.port import Entry, NotFound, Store

READY_LIMIT = 4 * 1024 * 1024
"""Bytes; a list of 30,000 files fits."""


LONGEST_KEY = 850
"""Bytes of an input's key: its products' keys are longer by the run's id and their folder, and S3 allows 1,024."""


class Ignored(Exception):
    """The key starts no run; the sentence says why."""


class ListedFile(BaseModel):
    """One line of an explicit `files` list."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, description="path below the dataset folder")
    size: int | None = Field(None, ge=0, description="bytes")
    sha256: str | None = Field(None, pattern="^[0-9a-f]{64}$")


class Ready(BaseModel):
    """`_READY.json`: may be `{}`. Options may stand under `options` or beside it."""

    model_config = ConfigDict(extra="allow", frozen=True)

    options: dict[str, Any] = {}
    files: list[ListedFile] | None = None
    version: int = Field(1, ge=1, le=1)

    @property
    def all_options(self) -> dict[str, Any]:
        return {**(self.model_extra or {}), **self.options}


def receive(store: Store, bucket: str, key: str, version: str, size: int | None = None) -> Manifest:
    """The manifest of an upload, written once; raises `Ignored`. A second event for the same upload finds the first one's.

    `size` is what the event says of this version, in bytes: by now another upload may lie at the key.
    """
    try:
        drop = keys.parse_drop(key)
    except keys.BadKey as error:
        raise Ignored(str(error)) from None
    if drop.workload not in registry.names():
        raise Ignored(f"there is no workload {drop.workload!r} here; choose one of: {', '.join(registry.names())}")
    if drop.file and not drop.file.lower().endswith(registry.suffixes(drop.workload)):
        endings = ", ".join(registry.suffixes(drop.workload))
        raise Ignored(f"{drop.file!r} is not a file that {drop.workload} reads ({endings})")
    manifest = Manifest(
        run_id=keys.run_id(bucket, key, version),
        tenant=drop.tenant,
        workload=drop.workload,
        dataset=drop.dataset,
        trigger=Trigger(bucket=bucket, key=key, version=version),
        received=ledger.now(),
        period=period(),
    )
    try:
        sources, options = _single(store, drop, key, version, size) if drop.file else _dataset(store, drop, key, version)
        manifest = manifest.model_copy(update={"sources": sources, "options": options})
    except BadInput as refusal:
        manifest = manifest.model_copy(update={"refused": str(refusal)})
    return write(store, manifest)


def period() -> int:
    """The number of the present period of days in which runs share finished stages; 0 where work files never expire.

    Work files expire one by one, `TILERY_WORK_EXPIRES_DAYS` after each was written. A period is a third of that: whatever a
    run finds finished is then young enough to outlive it.
    """
    days = int(os.environ.get("TILERY_WORK_EXPIRES_DAYS", "0"))
    return int(time.time() // 86_400) // max(1, days // 3) if days else 0


def write(store: Store, manifest: Manifest) -> Manifest:
    """Store a manifest if the run has none yet; returns the one that counts.

    What goes with it is written whoever was first: that one may have been killed in between.
    """
    key = keys.run(manifest.tenant, manifest.run_id, "manifest.json")
    if not store.create(key, manifest.model_dump_json().encode()):
        manifest = read(store, manifest.tenant, manifest.run_id)
    brief = manifest.model_copy(update={"sources": []})
    store.put(keys.run(manifest.tenant, manifest.run_id, "received.json"), brief.model_dump_json().encode())
    ledger.write(store, manifest, "received", key=manifest.trigger.key)
    return manifest


def read(store: Store, tenant: str, run_id: str) -> Manifest:
    """The manifest of a run; `BadInput` if there is no such run."""
    try:
        return Manifest.model_validate_json(store.get(keys.run(tenant, run_id, "manifest.json")))
    except NotFound:
        raise BadInput(f"there is no run {run_id[:12]} of tenant {tenant!r}, or its work files have expired") from None


def read_brief(store: Store, tenant: str, run_id: str) -> Manifest:
    """The manifest without its sources, of which there may be half a million; `BadInput` if there is no such run."""
    try:
        return Manifest.model_validate_json(store.get(keys.run(tenant, run_id, "received.json")))
    except NotFound:
        return read(store, tenant, run_id)  # received before briefs were written, or not to its end


def redo(store: Store, tenant: str, run_id: str, options: dict[str, Any], from_stage: str = "") -> Manifest:
    """A new run on the inputs of an old one, with some options changed.

    Its id follows from the old one and the changes, so asking twice is one run; stages with an unchanged fingerprint are
    reused. `from_stage` makes that stage and those after it run again: its name and the moment enter the fingerprint.
    """
    old = read(store, tenant, run_id)
    if old.refused:
        raise BadInput(f"there is nothing to redo, the drop was refused: {old.refused}")
    salt = {"again": {"stage": from_stage, "at": ledger.now()}} if from_stage else {}
    merged = {**old.options, **options}
    registry_options = registry.options(old.workload)
    parse(registry_options, merged, "--set")
    name = hashlib.sha256(json.dumps([old.run_id, merged, salt], sort_keys=True).encode()).hexdigest()
    again = {**old.again, **({from_stage: salt["again"]["at"]} if from_stage else {})}
    shared = old.period if period() - old.period <= 1 else period()
    update = {"run_id": name, "options": merged, "received": ledger.now(), "refused": "", "again": again, "period": shared}
    return write(store, old.model_copy(update=update))


def execution_input(manifest: Manifest) -> dict[str, Any]:
    """The input of the pipeline machine."""
    return {
        "schema": 1,
        "tenant": manifest.tenant,
        "workload": manifest.workload,
        "dataset": manifest.dataset,
        "key": manifest.trigger.key,
    }


def _single(store: Store, drop: keys.Drop, key: str, version: str, size: int | None) -> tuple[list[Source], dict[str, Any]]:
    entry = store.head(key)
    if entry is None:
        raise BadInput(f"{drop.file} is no longer in the drop folder; upload it again")
    return [_source(drop, entry if size is None else replace(entry, size=size), version)], {}


def _dataset(store: Store, drop: keys.Drop, key: str, version: str) -> tuple[list[Source], dict[str, Any]]:
    ready = _read_ready(store, drop, key, version)
    options = ready.all_options
    parse(registry.options(drop.workload), options, f"{drop.dataset}/{keys.READY}")
    there = (entry for entry in store.list(drop.prefix) if entry.key != key)  # half a million: never held beside the sources
    endings = registry.suffixes(drop.workload)
    if ready.files is not None:
        _distinct(drop, ready.files)
        found = {keys.plain(entry.key.removeprefix(drop.prefix)): entry for entry in there}
        return [_listed(drop, file, found, endings) for file in ready.files], options
    sources = [_source(drop, entry, entry.version) for entry in there if entry.key.lower().endswith(endings)]
    if not sources:
        raise BadInput(f"{drop.dataset} holds no file that {drop.workload} reads ({', '.join(endings)})")
    return sources, options


def _read_ready(store: Store, drop: keys.Drop, key: str, version: str) -> Ready:
    where = f"{drop.dataset}/{keys.READY}"
    entry = store.head(key)
    if entry is None:
        raise BadInput(f"{where} is no longer there; upload it again")
    if entry.size > READY_LIMIT:
        raise BadInput(f"{where} is {entry.size} bytes, more than the {READY_LIMIT} allowed")
    try:
        ready = Ready.model_validate_json(store.get(key, version=version) or b"{}")
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"]) or "the file"
        raise BadInput(f"{where}: {place}: {problem['msg']}; write {{}} or {{'options': {{...}}, 'files': [...]}}") from None
    for name in set(ready.model_extra or {}) - set(registry.options(drop.workload).model_fields):
        near = difflib.get_close_matches(name, Ready.model_fields, n=1)
        if near:
            raise BadInput(f"{where}: there is no {name!r}; did you mean {near[0]!r}?")
    return ready


def _listed(drop: keys.Drop, file: ListedFile, found: dict[str, Entry], endings: tuple[str, ...]) -> Source:
    where = f"{drop.dataset}/{keys.READY}"
    entry = found.get(file.name) or found.get(keys.plain(file.name))
    if entry is None and (wrong := keys.problem(drop.prefix + file.name)):
        raise BadInput(f"{where} names {file.name!r}: its key {wrong}")
    if entry is None:
        raise BadInput(f"{where} names {file.name!r}, which is not in the dataset; upload it, then {keys.READY} again")
    if file.size is not None and entry.size != file.size:
        raise BadInput(f"{where} says {file.name!r} has {file.size} bytes, but {entry.size} arrived; upload it again")
    if not file.name.lower().endswith(endings):
        raise BadInput(f"{where} names {file.name!r}, which {drop.workload} does not read ({', '.join(endings)})")
    source = _source(drop, entry, entry.version)
    return source.model_copy(update={"sha256": file.sha256 or ""})


def _distinct(drop: keys.Drop, files: list[ListedFile]) -> None:
    where, names = f"{drop.dataset}/{keys.READY}", [file.name for file in files]
    if not names:
        raise BadInput(f"{where} has an empty list of files; name some, or leave out 'files' to take all in the folder")
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise BadInput(f"{where} names {twice!r} twice; name each file once")


def _source(drop: keys.Drop, entry: Entry, version: str) -> Source:
    name, bad = keys.plain(entry.key.removeprefix(drop.prefix)), registry.load(drop.workload).takes_bad_files
    wrong = keys.problem(entry.key, LONGEST_KEY)
    if wrong and not bad:
        raise BadInput(f"{name if len(name) < 200 else name[:60] + '...'}: its key {wrong}")
    if entry.size == 0 and not bad:
        raise BadInput(f"{name} is empty (0 bytes): its upload failed; upload it again")
    refused = f"its name {wrong}" if wrong else ""
    return Source(name=name, key=keys.plain(entry.key), size=entry.size, version=version or entry.version, refused=refused)
