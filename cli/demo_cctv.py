"""`make demo-cctv`: drop a real video into the twin's drop folder, watch it come back as tracks and counts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from cli.clip import clip, given
from cli.demo import Show, run

ROOT = Path("build/demo-cctv")


def _told(record: Any) -> list[str]:
    counts = record["counts"]
    return [
        f"{counts['frames']:,} frames, {counts['detected']:,} through the detector",
        f"{counts['tracks']:,} road users, {counts['crossings']:,} crossings of counting lines",
    ]


def main(arguments: list[str]) -> int:
    """With a path: that video; else the sample, which is fetched."""
    if arguments:
        return run(lambda: given(arguments[0]), Show("cctv", "", _told), ROOT)
    return run(lambda: clip(Path(".cache")), Show("cctv", ", 795 frames of people who cross a square", _told), ROOT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
