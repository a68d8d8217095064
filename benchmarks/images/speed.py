"""Pictures per CPU-second of resize + split + blur, and what a picture of 100 megapixels costs, beside plain loops.

    python -m benchmarks.images.speed [--pictures 200]

Every contender runs as a command of its own; CPU-seconds include its children and its start. A contender reads files, makes
200x300, cuts it in four, blurs each piece (gaussian, 2 pixels) and writes four JPEG files.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Cost, cost_of, machine, middle

OPERATIONS = [["resize", "200x300"], ["split", True], ["blur", "gaussian"]]
CONTENDERS = ("tilery", "tilery engine alone", "plain pyvips", "plain Pillow")
RUN = "tilery run"
"""The command with all that it does besides: the twin, the index, the contact sheet, the report, a copy of every piece."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--pictures", type=int, default=400)
    arguments.add_argument("--repeat", type=int, default=3)
    given = arguments.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        for side in (512, 1024):
            pictures = Path(folder) / str(side)
            _photos(pictures, side, given.pictures)
            print(f"\n{given.pictures} pictures of {side}x{side}: pictures per CPU-second, wall s, peak MiB of a process")
            for contender in (*CONTENDERS, RUN):
                cost = middle([_run(contender, pictures, OPERATIONS) for _ in range(given.repeat)])
                print(f"  {contender:20} {given.pictures / cost.cpu_s:8.0f} {cost.wall_s:8.1f} {cost.peak_mib:8.0f}")
        large = Path(folder) / "large"
        _photos(large, 10_000, 1)
        print("\none picture of 100 megapixels, halved, cut in four, blurred: CPU s, wall s, peak MiB of a process")
        for contender in CONTENDERS[1:]:
            cost = _run(contender, large, [["resize", "5000x5000"], *OPERATIONS[1:]])
            print(f"  {contender:20} {cost.cpu_s:8.1f} {cost.wall_s:8.1f} {cost.peak_mib:8.0f}")


def _run(contender: str, folder: Path, operations: list[object]) -> Cost:
    with tempfile.TemporaryDirectory() as out:
        asked = json.dumps(operations)
        command = ["benchmarks.images.contenders", contender, str(folder), out, asked]
        if contender == RUN:
            command = ["cli.main", "run", "images", str(folder), "--out", out, "--set", f"operations={asked}"]
        cost = cost_of([sys.executable, "-m", *command])
        made = sum(path.is_file() and "__" in path.name for path in Path(out).rglob("*"))
        made += sum(len(row["pieces"]) for rows in Path(out).rglob("rows/*.json") for row in json.loads(rows.read_bytes()))
    if cost.code or made < 4 * len(list(folder.iterdir())):
        raise SystemExit(f"{contender} failed: {made} pieces\n{cost.output}")
    return cost


def _photos(folder: Path, side: int, count: int) -> None:
    """JPEG files with as much detail as photographs (about 1.6 bits a pixel), all different."""
    import pyvips

    folder.mkdir()
    for number in range(count):
        bands = [pyvips.Image.perlin(side, side, cell_size=max(8, side // 8), seed=3 * number + band) for band in range(3)]
        grain = pyvips.Image.gaussnoise(side, side, sigma=6, mean=0, seed=number)
        image = (bands[0].bandjoin(bands[1:]) * 100 + 128 + grain).cast("uchar").copy(interpretation="srgb")
        image.jpegsave(str(folder / f"{number:04d}.jpg"), Q=88)


if __name__ == "__main__":
    main()
