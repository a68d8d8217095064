"""What the process verb costs beside pure decoding, at SD, 1080p and 4K: frames a second and per CPU-second, and peak memory.

python -m benchmarks.cctv.speed [--sizes sd,1080p,4k] [--seconds 20] [--detector auto] [--longer]

The video is PETS (people who walk, seen by a fixed camera), scaled, crossfaded to 30 frames a second, with the noise of a
sensor, in H.264. Each measurement is a process of its own, and takes its start-up off: that of a run on the first frame alone.
`--longer` repeats the process verb on a video three times as long, for the memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from benchmarks.cctv.segments import seen, sized
from benchmarks.cctv.truth import DATA
from benchmarks.measure import Cost, cost_of
from tilery.workloads.cctv.clips import Clip
from tilery.workloads.cctv.decode import decode

SIZES = {"sd": (768, 576), "1080p": (1920, 1080), "4k": (3840, 2160)}
RATE = 30
STEPS = 3
"""Frames made of one of PETS, by crossfading to the next."""


def made(path: Path, width: int, height: int, seconds: int) -> Path:
    """The video, made once."""
    if path.exists():
        return path
    partial = path.with_suffix(".part.mp4")
    random = np.random.default_rng(0)
    noise = [random.normal(0, 2, (height + 64, width + 64, 1)).astype(np.int8) for _ in range(4)]
    with av.open(str(DATA / "pets" / "vtest.avi")) as source, av.open(str(partial), "w") as output:
        stream: Any = output.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "23", "g": "60"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        before = None
        number = 0
        for frame in source.decode(video=0):
            pixels = cv2.resize(frame.to_ndarray(format="rgb24"), (width, width * 3 // 4), interpolation=cv2.INTER_CUBIC)
            picture = pixels[(len(pixels) - height) // 2 :][:height]
            for step in range(STEPS if before is not None else 0):
                left, top = random.integers(0, 64, 2)
                faded = cv2.addWeighted(before, 1 - step / STEPS, picture, step / STEPS, 0).astype(np.int16)
                faded += noise[number % 4][top : top + height, left : left + width]
                output.mux(stream.encode(av.VideoFrame.from_ndarray(faded.clip(0, 255).astype(np.uint8), format="rgb24")))
                number += 1
            before = picture
            if number >= max(STEPS, seconds * RATE):
                break
        output.mux(stream.encode(None))
    partial.rename(path)
    return path


def task(kind: str, video: Path, detector: str) -> int:
    """What a child process does; the number of frames."""
    with tempfile.TemporaryDirectory(dir=video.parent) as root:
        work, items = sized(Path(root), [video], detector=detector, dedup="off")
        if kind == "decode":
            return sum(1 for _ in decode(work.store, work.run, Clip.of(work.run.facts["clips"][0])))
        frames, _, values = seen(work, items)
        print(json.dumps({name: sum(value[name] for value in values) for name in ("detected", "still", "detector_calls")}))
        return len(frames)


def cost(kind: str, video: Path, detector: str) -> Cost:
    found = cost_of([sys.executable, "-m", "benchmarks.cctv.speed", "--task", kind, str(video), "--detector", detector])
    if found.code:
        raise SystemExit(found.output)
    return found


def measure(folder: Path, name: str, seconds: int, detector: str) -> dict[str, Any]:
    width, height = SIZES[name]
    video, short = (
        made(folder / f"{name}-{seconds}.mp4", width, height, seconds),
        made(folder / f"{name}-0.mp4", width, height, 0),
    )
    frames = seconds * RATE
    found: dict[str, Any] = {"size": name, "frames": frames}
    for kind in ("decode", "process"):
        whole, start = cost(kind, video, detector), cost(kind, short, detector)
        found[f"{kind}_frames_per_cpu_s"] = round(frames / max(1e-3, whole.cpu_s - start.cpu_s), 1)
        found[f"{kind}_frames_per_s"] = round(frames / max(1e-3, whole.wall_s - start.wall_s), 1)
        found[f"{kind}_peak_mib"] = round(whole.peak_mib)
    found["share_of_decode_cpu"] = round(found["process_frames_per_cpu_s"] / found["decode_frames_per_cpu_s"], 2)
    found["share_of_decode_wall"] = round(found["process_frames_per_s"] / found["decode_frames_per_s"], 2)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sizes", default="sd,1080p,4k")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "tilery-cctv-speed")
    parser.add_argument("--longer", action="store_true")
    parser.add_argument("--task", nargs=2, metavar=("KIND", "VIDEO"))
    given = parser.parse_args()
    if given.task:
        print(task(given.task[0], Path(given.task[1]), given.detector))
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    for name in given.sizes.split(","):
        print(json.dumps(measure(given.folder, name, given.seconds, given.detector)), flush=True)
        if given.longer:
            video = made(given.folder / f"{name}-{3 * given.seconds}.mp4", *SIZES[name], 3 * given.seconds)
            longer = cost("process", video, given.detector)
            print(
                json.dumps({"size": name, "three times as long": True, "process_peak_mib": round(longer.peak_mib)}), flush=True
            )


if __name__ == "__main__":
    main()
