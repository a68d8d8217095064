"""Take away packs that nothing needs: mark from the recipes, condemn, wait, look again, sweep.

A pack is deleted only if it was condemned at least `grace_s` ago and no recipe needs it now. A writer that learned of a pack
before it was condemned may still write a recipe that names it, but not later than `writer_s` after; since the grace is longer,
that recipe is there when the pack is looked at for the last time. A writer that comes later builds nothing on it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from tilery.store.port import NotFound, Store
from tilery.workloads.cctv.dedup.packs import AT_ONCE, PACK_BYTES, Packs, Place, Writer, prefix

GRACE_S = 7 * 86_400.0
"""How long a pack that nothing needs stays, unless an operator says otherwise."""
SKEW_S = 3600.0
"""Clocks of two machines differ by less."""
LEAST_LIVE = 0.5
"""A pack with a smaller share of needed bytes is written anew without the others."""
SMALL_PACK = PACK_BYTES // 2
"""Packs below that size are joined, when there are several."""


@dataclass(frozen=True, slots=True)
class Collected:
    packs: int
    live_bytes: int
    condemned: int
    spared: int
    """Condemned packs that are needed again."""
    deleted: int
    deleted_bytes: int
    rewritten: int
    """Packs whose needed blobs were written into new ones; they are condemned by the next collection."""


def daily(store: Store, tenant: str) -> dict[str, Any]:
    """The collection of every day; empty for a tenant that keeps no frames."""
    kept = next(iter(store.list(f"{prefix(tenant)}/packs/")), None)
    return asdict(collect(Packs(store, prefix(tenant)), GRACE_S)) if kept else {}


def collect(packs: Packs, grace_s: float) -> Collected:
    """One collection; at most one at a time need run, more do no harm. Raises ValueError for a grace that is too short."""
    if grace_s < packs.writer_s + (SKEW_S if packs.writer_s >= SKEW_S else 0):
        raise ValueError(f"a grace of {grace_s:g} s is shorter than a writer may take ({packs.writer_s:g} s)")
    now = packs.clock()
    condemned_at = _condemned(packs)
    packs.refresh()
    head = packs.key("packs") + "/"
    present = {entry.key.removeprefix(head): entry.size for entry in packs.store.list(head)}
    live = needed(packs, _blobs(packs))
    known = {place.pack for places in packs.places.values() for place in places}
    indexed = set(packs.names("index"))
    condemned = spared = deleted = freed = 0
    for name in sorted(set(present) | indexed | set(condemned_at)):
        if name in live:
            spared += name in condemned_at
            if name in condemned_at:
                packs.store.delete([packs.key("condemned", name)])
        elif name not in condemned_at:
            condemned += packs.store.create(packs.key("condemned", name), json.dumps({"at": now}).encode())
        elif now - condemned_at[name] >= grace_s:
            for folder in ("index", "packs", "condemned"):  # a kill in between leaves a pack that is condemned already
                packs.store.delete([packs.key(folder, name)])
            deleted, freed = deleted + 1, freed + present.get(name, 0)
    rewritten = _rewrite(packs, live, {name: size for name, size in present.items() if name in known})
    return Collected(len(present), sum(live.values()), condemned, spared, deleted, freed, rewritten)


def needed(packs: Packs, blobs: Iterable[str]) -> dict[str, int]:
    """Packs that hold these blobs, with the bytes of them.

    Of a blob that lies in several, one place is chosen: in a pack that has to stay anyway, else in the one that is used best.
    """
    places = {digest: packs.places[digest] for digest in blobs if digest in packs.places}
    alone = {found[0].pack for found in places.values() if len(found) == 1}
    wanted: Counter[str] = Counter()
    ends: dict[str, int] = {}
    for found in packs.places.values():
        for place in found:
            ends[place.pack] = max(ends.get(place.pack, 0), place.stop)
    for found in places.values():
        wanted.update({place.pack: place.stop - place.start for place in found})

    def worse(place: Place) -> tuple[bool, bool, bool, int, str]:
        pack = place.pack
        sparse = wanted[pack] < LEAST_LIVE * ends[pack]
        return pack in packs.condemned, pack not in alone, sparse, -wanted[pack], pack

    live: Counter[str] = Counter()
    for found in places.values():
        best = min(found, key=worse)
        live[best.pack] += best.stop - best.start
    return dict(live)


def _rewrite(packs: Packs, live: dict[str, int], present: dict[str, int]) -> int:
    """Copies of what is needed in packs that are mostly dead, or small; these are needed no more, and go in their turn."""
    sparse = {name for name, size in present.items() if name in live and live[name] < LEAST_LIVE * size}
    small = {name for name, size in present.items() if name in live and size < SMALL_PACK}
    chosen = sparse | (small if len(small) > 1 and sum(present[name] for name in small) >= SMALL_PACK else set())
    if not chosen:
        return 0
    blobs = [digest for digest in sorted(_blobs(packs)) if {place.pack for place in packs.places.get(digest, ())} <= chosen]
    with Writer(packs) as writer:
        for digest in blobs:
            if digest in packs.places:
                writer.copy(digest)
    return len(chosen)


def _blobs(packs: Packs) -> set[str]:
    """All blobs that recipes name."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        recipes = pool.map(lambda name: _named(packs, name), list(packs.names("recipes")))
        return {digest for blobs in recipes for digest in blobs}


def _named(packs: Packs, name: str) -> list[str]:
    try:
        blobs: list[str] = json.loads(packs.store.get(packs.key("recipes", name)))["blobs"]
    except NotFound:  # deleted since it was listed
        return []
    return blobs


def _condemned(packs: Packs) -> dict[str, float]:
    return {name: float(json.loads(packs.store.get(packs.key("condemned", name)))["at"]) for name in packs.names("condemned")}
