"""Pictures to measure with: the 320 fruits of the test data, and as many variants of them as asked for."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageEnhance

from tests.data import DATA

FRUITS = "imagery/fruits"


def make(folder: Path, count: int) -> Path:
    """`count` pictures in labelled folders below `folder`: the real ones first, then turned, flipped, lighter and darker."""
    originals = sorted((DATA / FRUITS).rglob("*.jpg")) + sorted((DATA / FRUITS).rglob("*.png"))
    if not originals:
        raise SystemExit(f"there are no pictures below {DATA / FRUITS}; set TILERY_TEST_DATA")
    for number in range(count):
        variant, place = divmod(number, len(originals))
        source = originals[place]
        target = folder / source.parent.name / f"{source.stem}-{variant:03d}{source.suffix}"
        target.parent.mkdir(parents=True, exist_ok=True)
        if variant == 0:
            target.write_bytes(source.read_bytes())
            continue
        with Image.open(source) as opened:
            turned = opened.convert("RGB").rotate(37 * variant, expand=False, fillcolor="white")
        ImageEnhance.Brightness(turned).enhance(0.7 + 0.06 * (variant % 10)).save(target, quality=92)
    return folder
