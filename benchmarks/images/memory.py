"""Memory and time of every operation on one picture of 100 megapixels: worker and child together, beside plain libvips.

    python -m benchmarks.images.memory [--side 10000] [--only NAME ...]

Peak is the largest sum of the memory of the worker and its children, looked at every 10 ms; the limit is 400 MB. What processes
share (libraries; what the children are forked with) is counted once (Pss of proc_pid_smaps(5)).
Plain libvips does the same step on the same file from start to end, with its own settings, one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.measure import machine

LIMIT_MB = 400
HALF = ["resize", "50%"]
STEPS: dict[str, list[Any]] = {
    "nothing": [],
    "resize 50%": [HALF],
    "resize 200x300": [["resize", "200x300"]],
    "split 2x2": [["split", True]],
    "split tile 512": [["split", "tile 512"]],
    "blur gaussian": [["blur", "gaussian"]],
    "blur gaussian 20": [["blur", "gaussian 20"]],
    "blur box 3": [["blur", "box 3"]],
    "blur median 2": [["blur", "median 2"]],
    "crop": [["crop", "5000x5000"]],
    "rotate 90": [["rotate", 90]],
    "rotate 180": [["rotate", 180]],
    "rotate 12.5": [["rotate", 12.5]],
    "flip horizontal": [["flip", "horizontal"]],
    "flip vertical": [["flip", "vertical"]],
    "grayscale": [["grayscale", True]],
    "sharpen": [["sharpen", True]],
    "contrast": [["contrast", 1.3]],
    "normalise": [["normalise", True]],
    "normalise 0": [["normalise", 0]],
    "convert 16bit": [["convert", "16bit"]],
    "many": [["normalise", True], ["rotate", 12.5], ["blur", "gaussian"], ["split", "3x2"], ["flip", "vertical"]],
    "resize, split, blur": [["resize", "5000x5000"], ["split", True], ["blur", "gaussian"]],
}
STORED = ("tif", "tiled.tif", "16bit.tif", "webp")
SOURCES = ("jpg", "progressive.jpg", "progressive444.jpg", "turned.jpg", "png", "rgba.png", "interlaced.png", *STORED)
ON_EVERY_SOURCE = ("nothing", "resize 200x300", "split 2x2", "rotate 12.5", "flip vertical", "normalise")
OUTPUTS = ("png", "webp", "tiff", "avif")


@dataclass(frozen=True, slots=True)
class Used:
    cpu_s: float
    wall_s: float
    peak_mb: float
    code: int


def watched(command: list[str]) -> Used:
    """Run a command; the largest sum of the memory of it and what it starts."""
    begun, peak = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        me, used = psutil.Process(process.pid), 0.0
        while process.poll() is None:
            held, spent = 0, 0.0
            for one in [me, *_children(me)]:
                try:
                    held += _share(one.pid)
                    times = one.cpu_times()
                    spent += times.user + times.system + times.children_user + times.children_system
                except (psutil.Error, OSError):
                    continue
            peak, used = max(peak, held), max(used, spent)
            time.sleep(0.01)
    return Used(used, time.perf_counter() - begun, peak / 1e6, process.returncode)


def _share(pid: int) -> int:
    """Bytes of a process, shared pages divided among those that share them; 0 of one that has ended."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list[psutil.Process](process.children(recursive=True))
    except psutil.Error:
        return []


def write(source: str, side: int, folder: Path) -> Path:
    """A picture of side x side in one of the ways that pictures are stored."""
    import pyvips

    path = folder / source.replace(".", "", source.count(".") - 1) / f"large.{source.rsplit('.', 1)[-1]}"
    path.parent.mkdir()
    bands = [pyvips.Image.perlin(side, side, cell_size=side // 8, seed=band) for band in range(3)]
    image = (bands[0].bandjoin(bands[1:]) * 100 + 128 + pyvips.Image.gaussnoise(side, side, sigma=6, mean=0, seed=1)).cast(
        "uchar"
    )
    image = image.copy(interpretation="srgb")
    if source == "turned.jpg":
        image = image.copy()
        image.set_type(pyvips.GValue.gint_type, "orientation", 6)
    if source.startswith("rgba"):
        image = image.bandjoin(bands[0].linear(100, 128).cast("uchar"))
    if source.startswith("16bit"):
        image = (image * 257).cast("ushort").copy(interpretation="rgb16")
    options: dict[str, Any] = {"jpg": {"Q": 88}, "png": {"compression": 1}, "webp": {"Q": 80, "effort": 0}}.get(
        path.suffix[1:], {}
    )
    if source.startswith("progressive"):
        options |= {"interlace": True, "subsample_mode": "off" if "444" in source else "on"}
    if source.startswith("interlaced"):
        options |= {"interlace": True}
    if path.suffix == ".tif":
        options |= {"compression": "deflate", "tile": source.startswith("tiled")}
    image.write_to_file(str(path), **options)
    return path.parent


def plain(path: Path, step: str, out: Path) -> None:
    """The step as someone would write it with pyvips; nothing clever, but streamed where libvips streams."""
    import pyvips

    pyvips.concurrency_set(1)
    whole = pyvips.Image.new_from_file(str(path), access="sequential")
    lazy = {
        "nothing": lambda: whole,
        "resize 50%": lambda: whole.resize(0.5),
        "resize 200x300": lambda: whole.thumbnail_image(200, height=300, size="force"),
        "blur gaussian": lambda: whole.gaussblur(2),
        "blur gaussian 20": lambda: whole.gaussblur(20),
        "blur box 3": lambda: whole.convsep(pyvips.Image.new_from_array([[1] * 7], scale=7)),
        "blur median 2": lambda: whole.median(5),
        "crop": lambda: whole.crop(2500, 2500, 5000, 5000),
        "rotate 90": lambda: _anew(path).rot90(),
        "rotate 180": lambda: _anew(path).rot180(),
        "rotate 12.5": lambda: _anew(path).similarity(angle=12.5),
        "flip horizontal": lambda: whole.fliphor(),
        "flip vertical": lambda: _anew(path).flipver(),
        "grayscale": lambda: whole.colourspace("b-w"),
        "sharpen": lambda: whole.sharpen(),
        "contrast": lambda: whole.linear(1.3, -38),
        "normalise": lambda: _anew(path).hist_norm(),
    }
    if step in lazy:
        lazy[step]().write_to_file(str(out / "made.jpg"), Q=85)


def _anew(path: Path) -> Any:
    import pyvips

    return pyvips.Image.new_from_file(str(path))


def row(name: str, folder: Path, step: str, output: str = "jpg", peer: bool = False) -> float:
    operations = [*STEPS[step], *([["convert", output]] if output != "jpg" else [])]
    with tempfile.TemporaryDirectory() as out:
        ours = [sys.executable, "-m", "benchmarks.images.contenders", "tilery", str(folder), out, json.dumps(operations)]
        used = watched(ours)
        made = sum(len(row["pieces"]) for rows in Path(out).rglob("rows/*.json") for row in json.loads(rows.read_bytes()))
    beside = ""
    if peer:
        with tempfile.TemporaryDirectory() as out:
            (source,) = folder.iterdir()
            there = watched([sys.executable, "-m", "benchmarks.images.memory", "--plain", step, str(source), out])
            beside = f"{there.cpu_s:.1f} | {there.peak_mb:.0f}" if any(Path(out).iterdir()) else " | "
    said = "" if used.code == 0 and made else f" FAILED ({used.code}, {made} pieces)"
    print(f"| {name}{said} | {used.cpu_s:.1f} | {used.wall_s:.1f} | {used.peak_mb:.0f} | {beside or ' | '} |", flush=True)
    return used.peak_mb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=10_000)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--sources", nargs="*", default=list(SOURCES))
    parser.add_argument("--plain", nargs=3, metavar=("STEP", "FILE", "OUT"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.plain:
        plain(Path(asked.plain[1]), asked.plain[0], Path(asked.plain[2]))
        return
    print(f"{machine()}\n")
    print("| picture, operation | CPU s | wall s | peak MB | plain libvips: CPU s | peak MB |\n" + "|---" * 6 + "|")
    peaks = []
    with tempfile.TemporaryDirectory(dir=os.environ.get("TILERY_BENCH_TMP")) as name:
        for source in asked.sources:
            folder = write(source, asked.side, Path(name))
            steps = asked.only or (STEPS if source == "jpg" else ON_EVERY_SOURCE)
            for step in steps:
                peaks.append(row(f"{source}, {step}", folder, step, peer=source == "jpg"))
            if source == "jpg" and not asked.only:
                peaks += [row(f"{source}, nothing, to {output}", folder, "nothing", output) for output in OUTPUTS]
    print(f"\nlargest {max(peaks):.0f} MB, limit {LIMIT_MB} MB")
    raise SystemExit(max(peaks) > LIMIT_MB)


if __name__ == "__main__":
    main()
