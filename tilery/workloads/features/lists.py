"""What there is to do: lists of pictures for process, parts of the dataset for finish. No numpy: control functions call this.

Everywhere a picture is known by its place in `pictures`, which sorts by name: the order of the drop does not matter.
"""

from __future__ import annotations

import hashlib

from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.workload import Item, Sizing, Work
from tilery.workloads.features.options import BLOCK, EMBEDDED, PART, FeaturesOptions

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jp2", ".ppm", ".pgm")
BACKBONE = ".onnx"
SUFFIXES = (*PICTURES, BACKBONE)
LISTS = 256
"""As many lists as a drop is cut into, until lists are as large as a part: one merge of moments costs as much as several
pictures do."""
SUMMARY = "summary"
MEMORY_MIB = 1500.0
"""One worker: the libraries (300), the session with a batch (350), one large picture (600), features and moments (250)."""


def pictures(sources: list[Source]) -> list[Source]:
    """The pictures of a drop, by name."""
    return sorted((source for source in sources if source.name.lower().endswith(PICTURES)), key=lambda source: source.name)


def backbone_of(sources: list[Source], options: FeaturesOptions) -> Source | None:
    """The file that `backbone` names; None for the embedded one. Raises `BadInput` if there is no such file."""
    if options.backbone == EMBEDDED:
        return None
    files = {source.name: source for source in sources if source.name.lower().endswith(BACKBONE)}
    if options.backbone not in files:
        there = f"the drop has {', '.join(sorted(files))}" if files else "the drop has no .onnx file"
        raise BadInput(f"backbone={options.backbone!r} is neither {EMBEDDED!r} nor a file of the drop: {there}")
    return files[options.backbone]


def label_of(name: str) -> str | None:
    """The folder a picture lies in is its label; one at the top of the drop has none.

    >>> label_of("Training/Apple Red 1/0_100.jpg"), label_of("a.jpg")
    ('Apple Red 1', None)
    """
    folder = name.rpartition("/")[0]
    return folder.rpartition("/")[2] or None


def size(sources: list[Source], options: FeaturesOptions) -> Sizing:
    """Cut the pictures into lists. Contents are not read: the names say which are pictures, and decoding judges them."""
    chosen = pictures(sources)
    if not chosen:
        raise BadInput(f"the drop holds no picture ({', '.join(PICTURES)}); put some beside the .onnx file")
    backbone = backbone_of(sources, options)
    labels = {label_of(source.name) for source in chosen} - {None}
    unused = [source.name for source in sources if source.name.lower().endswith(BACKBONE) and source is not backbone]
    length = options.list_pictures or _length(len(chosen))
    items = [
        {
            "id": f"list-{start:08d}",
            "work": min(length, len(chosen) - start),
            "start": start,
            "stop": min(start + length, len(chosen)),
        }
        for start in range(0, len(chosen), length)
    ]
    return Sizing(
        work=len(chosen),
        items=items,
        counts={"pictures": len(chosen), "labels": len(labels), "lists": len(items)},
        warnings=[f"{name} is not used; set backbone={name} to use it" for name in unused],
        memory_mib=MEMORY_MIB,
    )


def finishes(work: Work[FeaturesOptions]) -> list[Item]:
    """The parts of the dataset, and one item for plots and figures."""
    count = len(pictures(work.run.sources))
    parts: list[Item] = [
        {"id": f"part-{start // PART:05d}", "work": min(PART, count - start), "start": start, "stop": min(start + PART, count)}
        for start in range(0, count, PART)
    ]
    return [*parts, {"id": SUMMARY, "work": min(count, work.options.sample) * 2}]


def sample(names: list[str], most: int) -> list[int]:
    """The places of at most `most` names: those with the smallest SHA-256. Adding names never reshuffles the others."""
    if len(names) <= most:
        return list(range(len(names)))
    ranked = sorted(range(len(names)), key=lambda place: hashlib.sha256(names[place].encode()).digest())
    return sorted(ranked[:most])


def _length(count: int) -> int:
    length = BLOCK
    while length < PART and count > length * LISTS:
        length *= 2
    return length
