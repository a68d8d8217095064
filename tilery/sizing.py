"""The first step of every run: read headers, choose the lane, estimate, and list the first stage's items."""

from __future__ import annotations

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor

from tilery import __version__, keys, lanes, ledger, manifest, registry, stages
from tilery.estimate import estimate
from tilery.options import parse
from tilery.outcomes import BadInput
from tilery.run import Manifest, Run, Source
from tilery.store.port import Changed, NotFound, Store
from tilery.version import code_digest

AT_ONCE = 16
"""Inputs whose digests are asked for at once: a drop may have tens of thousands."""
MANY = 100_000
"""Inputs from which on none is asked for: some 300 answers a second are all that one function gets, and it has 15 minutes."""
BLOCK = 32 << 20


def size(store: Store, tenant: str, run_id: str) -> Run:
    """Size a run from its manifest and store what every later step reads. Idempotent."""
    given = manifest.read(store, tenant, run_id)
    if given.refused:
        raise BadInput(given.refused)
    workload = registry.load(given.workload)
    options = parse(workload.Options, given.options, f"the options of {given.dataset}")
    sources = _pinned(given) if len(given.sources) > MANY else _all_digested(store, given.sources)
    given = given.model_copy(update={"sources": []})  # they would be held twice
    sizing = workload.size(sources, options, store)
    if options.device == "gpu" and not workload.gpu:
        raise BadInput(f"device=gpu, but nothing of {given.workload} computes on a GPU; leave device out")
    usable = lanes.usable(lanes.deployed(), bool(workload.gpu))
    lane = lanes.choose(
        given.workload, options.lane, options.device, sizing.work, sizing.memory_mib, usable, bool(options.pause)
    )
    run = Run(
        run_id=run_id,
        tenant=tenant,
        workload=given.workload,
        dataset=given.dataset,
        trigger=given.trigger,
        sources=sources,
        options=options.model_dump(mode="json"),
        fingerprint=fingerprint(given, sources),
        again=given.again,
        code=code_digest(given.workload),
        lane=lane.lane,
        lane_reason=lane.reason,
        estimate=estimate(given.workload, lane.lane, sizing.work),
        counts=sizing.counts,
        facts=sizing.facts,
        warnings=sizing.warnings,
        received=given.received,
        version=__version__,
    )
    stages.write_run(store, run)
    stages.first_items(store, run, sizing.items)
    ledger.write(
        store, given, "sized", lane=lane.lane, reason=lane.reason, estimate=run.estimate.model_dump(), counts=run.counts
    )
    return run


def fingerprint(given: Manifest, sources: list[Source]) -> str:
    """Names and contents of the inputs, as the workload tells them apart; not their keys or versions, so the same bytes dropped
    again are the same (within a period, see manifest.period)."""
    parts = registry.load(given.workload).identity(sources)
    return hashlib.sha256(json.dumps([given.workload, parts, given.period]).encode()).hexdigest()


def _sha256(store: Store, source: Source) -> str:
    """Read for it, since somebody asked for it by name and S3 keeps another checksum."""
    state = hashlib.sha256()
    for start in range(0, source.size, BLOCK):
        state.update(store.get_range(source.key, start, min(start + BLOCK, source.size), version=source.version))
    return state.hexdigest()


def _all_digested(store: Store, sources: list[Source]) -> list[Source]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda source: _digested(store, source), sources))


def _pinned(given: Manifest) -> list[Source]:
    """Very many inputs, told apart by their versions: a redo finds its stages, but the same bytes dropped again do not.

    A bucket may keep no versions: then nothing says that the bytes are those of another run, and the run shares with none.
    """
    return [source.model_copy(update={"digest": f"version:{source.version or given.run_id}"}) for source in given.sources]


def _digested(store: Store, source: Source) -> Source:
    if source.refused:
        return source.model_copy(update={"digest": f"unread:{source.version}"})
    try:
        digest = store.digest(source.key, version=source.version)
    except NotFound:
        raise BadInput(f"{source.name} is no longer in the drop folder; upload it again") from None
    except Changed:
        raise BadInput(
            f"{source.name} was replaced after the run had been asked for; the new upload has a run of its own"
        ) from None
    if source.sha256:
        found = digest.value if digest.algorithm == "sha256" else _sha256(store, source)
        if found != source.sha256:
            raise BadInput(f"{source.name}: its sha256 is {found}, {keys.READY} says {source.sha256}; upload it again")
    return source.model_copy(update={"digest": f"{digest.algorithm}:{digest.value}"})
