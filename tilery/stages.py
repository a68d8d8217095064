"""The plan of a run, stage by stage: fingerprints, item lists, packed jobs, and the check that nothing is missing.

A stage's folder is work/TENANT/STAGE/FINGERPRINT/ with
  items.jsonl (items-N.jsonl for merge round N)   what there is to do
  done/ID.json, failed/ID.json                    one marker an item
  done.jsonl                                      all markers of a complete stage, so that nobody reads them one by one again
  complete.json                                   every marker was there
The fingerprint hashes the inputs, the options that the stage and those before it read, the code, and tolerated holes: the
same work has the same folder, whichever run asks for it. Only `place` works for one run, whose id is in its fingerprint.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from tilery import keys, registry
from tilery.device import Device
from tilery.ledger import now
from tilery.outcomes import BadInput, Incomplete, Outcome
from tilery.packing import pack
from tilery.run import Run
from tilery.store.port import NotFound, Store
from tilery.workload import ALL, Done, Item, Stage, StageName, Work, Workload

AT_ONCE = 32
"""Markers and job lists are small objects; this many are read or written at once."""
FEW = 256
"""So many markers are read sooner one by one than with those of the whole stage, which may be a hundred thousand."""


WorkOf = Callable[[Store, Run, "Link", "list[Link]"], Work[Any]]


@dataclass(frozen=True, slots=True)
class Plan:
    """What the state machine does next: a stage (or `publish`), its round, the key of its job list and how many there are."""

    stage: str
    round: int = 0
    jobs: str = ""
    count: int = 0


@dataclass(frozen=True, slots=True)
class Link:
    """One stage in the chain of a run: its folder, and the holes that were tolerated in it."""

    name: StageName
    stage: Stage
    folder: str
    missing: tuple[str, ...]


def read_run(store: Store, tenant: str, run_id: str) -> Run:
    return Run.model_validate_json(store.get(keys.run(tenant, run_id, "run.json")))


def write_run(store: Store, run: Run) -> None:
    """Store a sized run, and what it is without its sources: of those it may have half a million."""
    brief = run.model_copy(update={"sources": []})
    store.put(keys.run(run.tenant, run.run_id, "brief.json"), brief.model_dump_json().encode())
    store.put(keys.run(run.tenant, run.run_id, "run.json"), run.model_dump_json().encode())


def read_brief(store: Store, tenant: str, run_id: str) -> Run:
    """A sized run without its sources, for functions with little memory; raises `NotFound` as `read_run` does."""
    try:
        return Run.model_validate_json(store.get(keys.run(tenant, run_id, "brief.json")))
    except NotFound:
        return read_run(store, tenant, run_id)  # sized before briefs were written


def chain(store: Store, run: Run) -> list[Link]:
    """The run's stages with their folders. Holes accepted in this run change the folders of the stages after them."""
    workload = registry.load(run.workload)
    links: list[Link] = []
    upstream = run.fingerprint
    for name, stage in workload.stages.items():
        read = {option: run.options.get(option) for option in stage.options}
        read |= {f"facts.{fact}": run.facts.get(fact) for fact in stage.facts}
        parts = [upstream, name, read, run.again.get(name, ""), run.code, *([run.run_id] if name == "place" else [])]
        fingerprint = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]
        missing = tuple(_accepted(store, run, name))
        links.append(Link(name, stage, keys.stage(run.tenant, name, fingerprint), missing))
        upstream = fingerprint + "".join(missing)
    return links


def last_made(links: list[Link]) -> Link:
    """The last stage whose output runs share: what products are made of."""
    return next(link for link in reversed(links) if link.name != "place")


def first_items(store: Store, run: Run, items: list[Item]) -> None:
    """Store the items of the first stage, which `size` made."""
    write_items(store, chain(store, run)[0], items)


def plan(store: Store, run: Run, work_of: WorkOf) -> Plan:
    """The next thing to do. `work_of(store, run, link, links)` makes the `Work` that `Workload.items` gets.

    Stages are looked at from the last to the first: whatever is complete, in this run or any before, is not done again,
    even where an earlier stage's files have expired.
    """
    workload = registry.load(run.workload)
    links = chain(store, run)
    at = next((index + 1 for index in reversed(range(len(links))) if _passed(store, run, links[index])), 0)
    while at < len(links):
        link = links[at]
        round_, items = _pending(store, run, workload, links, at, work_of)
        if items:
            count = write_jobs(store, run, link, round_, items, "")
            _note(store, run, link.name, planned=now())
            return Plan(link.name, round_, _list_key(run, link.name, round_, ""), count)
        complete(store, run, link)
        at += 1
    return Plan("publish")


def check(store: Store, run: Run, stage: str, round_: int, redriven: bool) -> Plan | None:
    """Compare markers with the plan. None: go on. A plan: go round again with only the missing items.

    Raises `Incomplete` (or `BadInput`, when a bad input is the cause) if items are missing that may not be.
    """
    links = chain(store, run)
    link = next(link for link in links if link.name == stage)
    items = read_items(store, link, round_)
    done = markers(store, link, "done")
    missing = [item for item in items if item["id"] not in done]
    if not missing:
        if _last_round(link, items):
            _complete(store, run, link, done)
        return None
    if redriven:
        count = write_jobs(store, run, link, round_, missing, "again-")
        return Plan(stage, round_, _list_key(run, stage, round_, "again-"), count)
    tolerate = float(run.options.get("tolerate", 0))
    if link.stage.holes and len(missing) < len(items) and 100 * len(missing) / len(items) <= tolerate:
        _note(store, run, link.name, passed=now(), missing=[str(item["id"]) for item in missing])
        return None
    raise _incomplete(store, run, link, missing, len(items))


def _incomplete(store: Store, run: Run, link: Link, missing: list[Item], count: int) -> Exception:
    failures = failed(store, link, [str(item["id"]) for item in missing]) or _failed_jobs(store, run, link)
    bad = [failure for failure in failures if failure["error"] == "BadInput"]
    if bad:
        return BadInput(bad[0]["sentence"])
    why = f": {failures[0]['item']}: {failures[0]['sentence']}" if failures else ""
    return Incomplete(f"{len(missing)} of {count} {link.name} items are not done{why}")


def failed(store: Store, link: Link, ids: Iterable[str]) -> list[dict[str, Any]]:
    """What the workers said of items that failed, as far as they could say anything."""
    present = markers(store, link, "failed")
    wanted = [keys.join(link.folder, "failed", f"{item}.json") for item in ids if item in present]
    return [json.loads(data) for data in _get_all(store, wanted[:20])]


def _failed_jobs(store: Store, run: Run, link: Link) -> list[dict[str, Any]]:
    """What a container said of a job that failed before or after its items (containers/entrypoint.py), the last job first."""
    prefix = keys.run(run.tenant, run.run_id, "errors") + "/"
    found = [entry.key for entry in store.list(prefix) if entry.key.startswith(f"{prefix}{link.name}-")]
    return [{"item": f"the job {PurePosixPath(key).stem}", **json.loads(store.get(key))} for key in found[:-2:-1]]


def values(store: Store, link: Link, ids: Iterable[str]) -> list[dict[str, Any]]:
    """What the verbs returned for these finished items, in order. Of many, the gathered markers are read, if they are there."""
    wanted = list(ids)
    if len(wanted) <= FEW:
        return [marker["value"] for marker in _read_markers(store, link, wanted)]
    found = {marker["id"]: marker["value"] for marker in _finished(store, link)}
    return [found[item] for item in wanted]


def devices(store: Store, links: list[Link]) -> list[tuple[str, str]]:
    """The devices, with the reasons, that the finished items of these stages were computed on; sorted, without repeats."""
    return sorted({(str(one["device"]), str(one["reason"])) for link in links for one in _finished(store, link)})


def done_items(store: Store, link: Link, round_: int = 0) -> list[Done]:
    """The finished items of a stage (or merge round), in the order of its list."""
    returned = {marker["id"]: marker["value"] for marker in _finished(store, link)}
    return [Done(item, returned[item["id"]]) for item in read_items(store, link, round_) if item["id"] in returned]


def _finished(store: Store, link: Link) -> list[dict[str, Any]]:
    """The markers of a stage's finished items, in all rounds, each with its `id`."""
    try:
        return read_lines(store, _gathered_key(link))
    except NotFound:  # it is not complete
        return _read_markers(store, link, sorted(markers(store, link, "done")))


def _read_markers(store: Store, link: Link, ids: Iterable[str]) -> list[dict[str, Any]]:
    wanted = list(ids)
    found = _get_all(store, [_done_key(link, item) for item in wanted])
    return [{"id": item, **json.loads(data)} for item, data in zip(wanted, found, strict=True)]


def finished(store: Store, link: Link, ids: Iterable[str]) -> frozenset[str]:
    """Which of these items have their marker. A few are asked for by name: a list of the stage would be long for each job."""
    wanted = list(ids)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda item: store.head(_done_key(link, item)) is not None, wanted)
        return frozenset(item for item, there in zip(wanted, found, strict=True) if there)


def mark_done(store: Store, link: Link, item: str, value: Mapping[str, Any], seconds: float, on: Device) -> None:
    """Leave the completion marker of an item: after its output, and the last thing that is done for it."""
    marker = {"value": value, "seconds": round(seconds, 3), "device": on.kind, "reason": on.reason, "at": now()}
    store.put(_done_key(link, item), json.dumps(marker, sort_keys=True).encode())


def mark_failed(store: Store, link: Link, item: str, failure: Outcome) -> None:
    body = {"item": item, "error": type(failure).__name__, "sentence": str(failure), "at": now()}
    store.put(keys.join(link.folder, "failed", f"{item}.json"), json.dumps(body, sort_keys=True).encode())


def last_round(store: Store, link: Link) -> int:
    """The number of the last merge round that was planned; 0 for every other stage."""
    round_ = 0
    while link.name == "merge" and store.head(_items_key(link, round_ + 1)) is not None:
        round_ += 1
    return round_


def read_items(store: Store, link: Link, round_: int = 0) -> list[Item]:
    return read_lines(store, _items_key(link, round_))


def read_lines(store: Store, key: str) -> list[Any]:
    return [json.loads(line) for line in store.get(key).splitlines() if line]


def markers(store: Store, link: Link, kind: str) -> frozenset[str]:
    """Ids of all items that have a marker of this kind (`done`, `failed`)."""
    prefix = f"{link.folder}/{kind}/"
    return frozenset(entry.key.removeprefix(prefix).removesuffix(".json") for entry in store.list(prefix))


def has_items(store: Store, link: Link, round_: int = 0) -> bool:
    return store.head(_items_key(link, round_)) is not None


def write_items(store: Store, link: Link, items: list[Item]) -> None:
    """Store the list of a stage, unless another run of the same fingerprint has: then that one counts."""
    _create_lines(store, _items_key(link, 0), items)


def complete(store: Store, run: Run, link: Link) -> None:
    """Every item of the stage has its marker."""
    _complete(store, run, link, markers(store, link, "done"))


def note_whole(store: Store, run: Run, seconds: float) -> None:
    """Remember that the lambda lane did the run, and how long it took; 0 where its stages have timings of their own."""
    store.put(_note_key(run, "whole", "seconds"), json.dumps({"seconds": seconds}).encode())


def was_whole(store: Store, run: Run) -> bool:
    """Whether one worker did this run, and did not give up."""
    return _read_note(store, run, "whole", "seconds") is not None


def write_jobs(store: Store, run: Run, link: Link, round_: int, items: list[Item], kind: str) -> int:
    """Pack items into jobs: one JSONL file a job, and one list with a line for each. Returns the number of jobs."""

    def write(numbered: tuple[int, list[Item]]) -> dict[str, Any]:
        number, job = numbered
        name = f"{link.name}-{round_}-{kind}{number:05d}"
        key = keys.run(run.tenant, run.run_id, "jobs", f"{name}.jsonl")
        store.put(key, _lines(job))
        return {"key": key, "name": name, "items": len(job), "work": sum(float(item["work"]) for item in job)}

    with ThreadPoolExecutor(AT_ONCE) as pool:
        lines = list(pool.map(write, enumerate(pack(items, link.stage.work_per_job, spread=spread()))))
    store.put(_list_key(run, link.name, round_, kind), _lines(lines))
    return len(lines)


def spread() -> int:
    """Over how many workers a small stage is spread: the cores of one machine, or a few workers of a cloud."""
    return int(os.environ.get("TILERY_SPREAD", "8"))


def timings(store: Store, run: Run) -> dict[str, float]:
    """Seconds from plan to pass of each stage that this run did itself."""
    whole = _read_note(store, run, "whole", "seconds")
    seconds: dict[str, float] = {"whole": whole["seconds"]} if whole and whole["seconds"] else {}
    for name in registry.load(run.workload).stages:
        planned, passed = _read_note(store, run, name, "planned"), _read_note(store, run, name, "passed")
        if planned and passed:
            taken = datetime.fromisoformat(passed["at"]) - datetime.fromisoformat(planned["at"])
            seconds[name] = round(taken.total_seconds(), 3)
    return seconds


def _pending(
    store: Store, run: Run, workload: Workload[Any], links: list[Link], at: int, work_of: WorkOf
) -> tuple[int, list[Item]]:
    """The round that is to be done next in a stage, and its items without a marker."""
    link = links[at]
    round_ = last_round(store, link)
    if not has_items(store, link, round_):
        before = [] if at == 0 else done_items(store, links[at - 1], last_round(store, links[at - 1]))
        items = _merge_items(link, 0, [str(done.item["id"]) for done in before]) if link.name == "merge" else None
        if items is None:
            items = list(workload.items(work_of(store, run, link, links), before))
        write_items(store, link, items)
    items = read_items(store, link, round_)
    done = markers(store, link, "done")
    if link.name == "merge" and items and not _last_round(link, items) and all(item["id"] in done for item in items):
        round_ += 1
        items = _merge_items(link, round_, [str(item["id"]) for item in items])
        _create_lines(store, _items_key(link, round_), items)
    return round_, [item for item in items if item["id"] not in done]


def _merge_items(link: Link, round_: int, ids: list[str]) -> list[Item]:
    """Groups of `fan_in` parts, in order; the one that remains says that it is the last."""
    size = len(ids) if link.stage.fan_in == ALL else link.stage.fan_in
    groups = [ids[start : start + size] for start in range(0, len(ids), max(size, 1))]
    return [
        {"id": f"r{round_}-{number:06d}", "work": len(group), "round": round_, "parts": group, "last": len(groups) == 1}
        for number, group in enumerate(groups)
    ]


def _last_round(link: Link, items: list[Item]) -> bool:
    return link.name != "merge" or len(items) <= 1


def _passed(store: Store, run: Run, link: Link) -> bool:
    return store.head(keys.join(link.folder, "complete.json")) is not None or (
        _read_note(store, run, link.name, "passed") is not None and bool(link.missing)
    )


def _complete(store: Store, run: Run, link: Link, done: Iterable[str]) -> None:
    store.put(_gathered_key(link), _lines(_read_markers(store, link, sorted(done))))
    store.put(keys.join(link.folder, "complete.json"), json.dumps({"at": now()}).encode())
    _note(store, run, link.name, passed=now())


def _accepted(store: Store, run: Run, stage: str) -> list[str]:
    note = _read_note(store, run, stage, "passed")
    return list(note["missing"]) if note else []


def _note(store: Store, run: Run, stage: str, *, planned: str = "", passed: str = "", missing: Iterable[str] = ()) -> None:
    if planned:
        store.create(_note_key(run, stage, "planned"), json.dumps({"at": planned}).encode())
    if passed:
        store.put(_note_key(run, stage, "passed"), json.dumps({"at": passed, "missing": list(missing)}).encode())


def _read_note(store: Store, run: Run, stage: str, kind: str) -> dict[str, Any] | None:
    try:
        note: dict[str, Any] = json.loads(store.get(_note_key(run, stage, kind)))
    except NotFound:
        return None
    return note


def _note_key(run: Run, stage: str, kind: str) -> str:
    return keys.run(run.tenant, run.run_id, "stages", f"{stage}-{kind}.json")


def _done_key(link: Link, item: str) -> str:
    return keys.join(link.folder, "done", f"{item}.json")


def _gathered_key(link: Link) -> str:
    return keys.join(link.folder, "done.jsonl")


def _items_key(link: Link, round_: int) -> str:
    return keys.join(link.folder, f"items-{round_}.jsonl" if round_ else "items.jsonl")


def _list_key(run: Run, stage: str, round_: int, kind: str) -> str:
    return keys.run(run.tenant, run.run_id, "jobs", f"{stage}-{round_}-{kind}list.jsonl")


def _create_lines(store: Store, key: str, lines: Iterable[Mapping[str, Any]]) -> None:
    """Never replaced: two runs that share a folder work from one list, whoever wrote it."""
    store.create(key, _lines(lines))


def _lines(lines: Iterable[Mapping[str, Any]]) -> bytes:
    return "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines).encode()


def _get_all(store: Store, wanted: list[str]) -> list[bytes]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(store.get, wanted))
