"""One contender of benchmarks.images.speed: NAME FOLDER OUT OPERATIONS."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tilery.workloads.images.operations import Resize, parse


def tilery(files: list[Path], out: Path, operations: list[Any]) -> None:
    """The verb as it runs in a worker: children, the store, the rows."""
    from tilery.run import Estimate, Run, Source, Trigger
    from tilery.store.directory import DirectoryStore
    from tilery.workload import Work
    from tilery.workloads.images.options import ImagesOptions
    from tilery.workloads.images.workload import Images

    store = DirectoryStore(out)
    sources = []
    for file in files:
        key = f"drop/acme/images/set/{file.name}"
        store.upload(str(file), key)
        entry = store.head(key)
        assert entry is not None
        sources.append(Source(name=file.name, key=key, size=entry.size, version=entry.version))
    options = ImagesOptions(operations=operations)
    sizing = Images().size(sources, options, store)
    run = Run(
        run_id="bench",
        tenant="acme",
        workload="images",
        dataset="set",
        trigger=Trigger(bucket="drop", key="", version=""),
        sources=sources,
        options=options.model_dump(mode="json"),
        fingerprint="",
        lane="lambda",
        lane_reason="",
        estimate=Estimate(seconds=0, dollars=0),
        counts={},
        facts={},
        received="",
        version="",
    )
    for item in sizing.items:
        scratch = out / str(item["id"])
        scratch.mkdir()
        folders = {"process": "work/acme/process/x"}
        Images().process(Work(run=run, options=options, store=store, stage="process", folders=folders, scratch=scratch), item)


def engine(files: list[Path], out: Path, operations: list[Any]) -> None:
    """Only what a child does."""
    from tilery.workloads.images import picture
    from tilery.workloads.images.options import ImagesOptions
    from tilery.workloads.images.process import IN_MEMORY

    picture.settle()
    options = ImagesOptions(operations=operations)
    for file in files:
        made = picture.make(file, file.stem, out, options, file.read_bytes() if file.stat().st_size <= IN_MEMORY else None)
        assert made.row["status"] == "ok", made.row
        for name, data in made.inline.items():
            (out / name).write_bytes(data)


def plain_pyvips(files: list[Path], out: Path, operations: list[Any]) -> None:
    import pyvips

    width, height = _size(operations)
    for file in files:
        whole = pyvips.Image.new_from_file(str(file))
        small = whole.resize(width / whole.width, vscale=height / whole.height)
        for number, (x, y) in enumerate(_quarters(width, height)):
            piece = small.crop(x, y, width // 2, height // 2).gaussblur(2)
            piece.write_to_file(str(out / f"{file.stem}__{number}.jpg"), Q=85)


def plain_pillow(files: list[Path], out: Path, operations: list[Any]) -> None:
    from PIL import Image, ImageFilter

    Image.MAX_IMAGE_PIXELS = None
    width, height = _size(operations)
    for file in files:
        with Image.open(file) as whole:
            small = whole.resize((width, height), Image.Resampling.LANCZOS)
        for number, (x, y) in enumerate(_quarters(width, height)):
            piece = small.crop((x, y, x + width // 2, y + height // 2)).filter(ImageFilter.GaussianBlur(2))
            piece.save(out / f"{file.stem}__{number}.jpg", quality=85)


def _size(operations: list[Any]) -> tuple[int, int]:
    resize = parse(operations)[0]
    assert isinstance(resize, Resize)
    assert resize.width
    assert resize.height
    return resize.width, resize.height


def _quarters(width: int, height: int) -> list[tuple[int, int]]:
    return [(x, y) for y in (0, height // 2) for x in (0, width // 2)]


CONTENDERS = {"tilery": tilery, "tilery engine alone": engine, "plain pyvips": plain_pyvips, "plain Pillow": plain_pillow}

if __name__ == "__main__":
    CONTENDERS[sys.argv[1]](sorted(Path(sys.argv[2]).iterdir()), Path(sys.argv[3]), json.loads(sys.argv[4]))
