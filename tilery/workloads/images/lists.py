"""Cuts a drop into lists of pictures: the items of `process`. Light: file sizes are all it looks at."""

from __future__ import annotations

from tilery.run import Source
from tilery.workload import Item, Sizing
from tilery.workloads.images.naming import stems
from tilery.workloads.images.operations import output_format, parse
from tilery.workloads.images.options import ImagesOptions

PICTURES = 500
"""Pictures a list, at most: a list starts its children anew, a quarter of a CPU-second each."""
BYTES = 64e6
"""Bytes of a list, about: a larger picture is a list of its own."""
EACH = 60_000.0
"""What a picture costs whatever its size, in bytes of the same cost."""
MEMORY_MIB = 1400.0
"""Of one worker with its children, without what follows: see benchmarks/images."""
COEFFICIENTS = 8
"""Bytes a pixel of a progressive JPEG of four colours at full resolution: libjpeg holds every coefficient, 16 bits, until the
last scan has come. No other format takes more; one such picture at a time is decoded."""


def size(sources: list[Source], options: ImagesOptions) -> Sizing:
    """Lists of [number of the source, name of its result without ending], in the order of their names."""
    ending = output_format(parse(options.operations), options.output)
    names = stems([source.name for source in sources], ending)
    items: list[Item] = []
    pictures: list[tuple[int, str]] = []
    work = 0.0
    order = sorted(range(len(sources)), key=lambda number: sources[number].name)
    for number in order:
        cost = sources[number].size + EACH
        if pictures and (len(pictures) >= PICTURES or work + cost > BYTES):
            items.append(_item(len(items), work, pictures))
            pictures, work = [], 0.0
        pictures.append((number, names[number]))
        work += cost
    if pictures:
        items.append(_item(len(items), work, pictures))
    total = sum(item["work"] for item in items)
    counts = {"pictures": len(sources), "bytes": sum(source.size for source in sources)}
    return Sizing(work=total, items=items, counts=counts, memory_mib=MEMORY_MIB + decoding_bytes(options) / 2**20)


def decoding_bytes(options: ImagesOptions) -> int:
    """Memory that the decoder of the largest picture allowed may take."""
    return int(COEFFICIENTS * 1e6 * options.max_megapixels)


def _item(number: int, work: float, pictures: list[tuple[int, str]]) -> Item:
    return {"id": f"list-{number:05d}", "work": work, "pictures": [list(picture) for picture in pictures]}
