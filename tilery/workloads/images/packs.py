"""Where pieces lie between the stages: one object a list, in which each piece is a span."""

from __future__ import annotations

from typing import Any

from tilery.store.port import Span
from tilery.workload import Work
from tilery.workloads.images.options import ImagesOptions

INTERNAL = ("pack", "start")
"""What a row knows of its pieces that is nobody else's business."""


def pack_key(item: str) -> str:
    return f"packs/{item}.bin"


def span(work: Work[ImagesOptions], piece: dict[str, Any]) -> Span:
    return Span(work.key("process", pack_key(piece["pack"])), piece["start"], piece["start"] + piece["bytes"])


def content(work: Work[ImagesOptions], pieces: list[dict[str, Any]]) -> list[bytes]:
    """The bytes of some pieces of one source."""
    spans = [span(work, piece) for piece in pieces]
    return work.store.get_ranges(spans[0].key, [(one.start, one.stop) for one in spans]) if spans else []


def public(row: dict[str, Any]) -> dict[str, Any]:
    """The row without what only the stages need."""
    pieces = [{name: value for name, value in piece.items() if name not in INTERNAL} for piece in row["pieces"]]
    return {**row, "pieces": pieces}
