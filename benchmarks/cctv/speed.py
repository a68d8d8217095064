"""What the process verb costs beside pure decoding, from SD to 4K, beside a detector on every frame, and in an hour.

python -m benchmarks.cctv.speed [--videos sd,1080p,4k,wall1080p,wall4k] [--seconds 20] [--hz 5] [--detector auto] [--no-hour]

`sd`, `1080p` and `4k` are PETS (people who walk, seen by a fixed camera), scaled, crossfaded to 30 frames a second, with the
noise of a sensor, in H.264 with B pictures, as files are made. `wall1080p` and `wall4k` are PETS at its own size, side by side
at different moments, at 25 frames a second without B pictures, as cameras encode: more to decode, and people everywhere.
Each measurement is a process of its own, and takes its start-up off: that of a run on the first frames alone.
YOLOv8n's row is its network alone (`yolo`), once for each frame, with decoding.
The hour is highway, looped to six minutes and to an hour: what it costs is to be ten times as much, and the memory the same.
Videos are made once, in the folder, which takes some minutes.
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

from benchmarks.cctv import yolo
from benchmarks.cctv.segments import seen, sized
from benchmarks.cctv.truth import DATA
from benchmarks.measure import Cost, cost_of, machine
from tilery.workloads.cctv.clips import Clip
from tilery.workloads.cctv.decode import decode

SIZES = {"sd": (768, 576), "1080p": (1920, 1080), "4k": (3840, 2160)}
RATE = 30
WALL_RATE = 25
APART = 137
"""Frames between neighbours in a wall."""
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


def wall(path: Path, width: int, height: int, seconds: int) -> Path:
    """PETS at its own size in rows and columns, each at another moment, forth and back; made once."""
    if path.exists():
        return path
    partial = path.with_suffix(".part.mp4")
    with av.open(str(DATA / "pets" / "vtest.avi")) as source:
        shown = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    down, across = shown[0].shape[:2]
    there_and_back = [*range(len(shown)), *range(len(shown) - 2, 0, -1)]
    with av.open(str(partial), "w") as output:
        how = {"preset": "veryfast", "crf": "23", "g": "50", "bf": "0"}
        stream: Any = output.add_stream("libx264", rate=WALL_RATE, options=how)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        picture = np.empty((-(-height // down) * down, -(-width // across) * across, 3), np.uint8)
        for number in range(max(STEPS, seconds * WALL_RATE)):
            for place in range(picture.size // shown[0].size):
                row, column = divmod(place, picture.shape[1] // across)
                one = shown[there_and_back[(number + APART * place) % len(there_and_back)]]
                picture[row * down : (row + 1) * down, column * across : (column + 1) * across] = one
            frame = np.ascontiguousarray(picture[:height, :width])
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        output.mux(stream.encode(None))
    partial.rename(path)
    return path


def looped(path: Path, seconds: int) -> Path:
    """Highway at its own size and 25 frames a second, encoded once and then repeated packet by packet; made once."""
    if path.exists():
        return path
    once, partial = path.with_name("once.mp4"), path.with_suffix(".part.mp4")
    files = sorted((DATA / "highway" / "frames").glob("*.jpg"))
    with av.open(str(once), "w") as output:
        stream: Any = output.add_stream("libx264", rate=WALL_RATE, options={"crf": "23", "g": "50", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for file in files:
            output.mux(stream.encode(av.VideoFrame.from_ndarray(cv2.imread(str(file)), format="bgr24")))
        output.mux(stream.encode(None))
    with av.open(str(once)) as source, av.open(str(partial), "w") as output:
        packets = [packet for packet in source.demux(video=0) if packet.size]
        step = packets[1].pts - packets[0].pts
        into: Any = output.add_stream_from_template(source.streams.video[0])
        for number in range(seconds * WALL_RATE):
            given = packets[number % len(packets)]
            packet = av.Packet(bytes(given))
            packet.pts = packet.dts = number * step
            packet.time_base, packet.is_keyframe, packet.stream = given.time_base, given.is_keyframe, into
            output.mux(packet)
    partial.rename(path)
    return path


def task(kind: str, video: Path, detector: str, hz: float) -> int:
    """What a child process does; the number of frames."""
    with tempfile.TemporaryDirectory(dir=video.parent) as root:
        work, items = sized(Path(root), [video], detector=detector, detect_hz=hz, dedup="off")
        if kind == "decode":
            return sum(1 for _ in decode(work.store, work.run, Clip.of(work.run.facts["clips"][0])))
        frames, _, values = seen(work, items)
        print(json.dumps({name: sum(value[name] for value in values) for name in ("detected", "still", "detector_calls")}))
        return len(frames)


def cost(kind: str, video: Path, detector: str, hz: float) -> Cost:
    what = ["--task", kind, str(video), "--detector", detector, "--hz", str(hz)]
    found = cost_of([sys.executable, "-m", "benchmarks.cctv.speed", *what])
    if found.code:
        raise SystemExit(found.output)
    return found


def video_of(folder: Path, name: str, seconds: int) -> Path:
    size = SIZES[name.removeprefix("wall")]
    return (wall if name.startswith("wall") else made)(folder / f"{name}-{seconds}.mp4", *size, seconds)


def measure(folder: Path, name: str, seconds: int, detector: str, hz: float) -> dict[str, Any]:
    video, short = video_of(folder, name, seconds), video_of(folder, name, 0)
    frames = seconds * (WALL_RATE if name.startswith("wall") else RATE)
    found: dict[str, Any] = {"mbit_s": round(video.stat().st_size * 8e-6 / seconds, 1)}
    for kind in ("decode", "process"):
        whole, start = cost(kind, video, detector, hz), cost(kind, short, detector, hz)
        found[f"{kind}_cpu"] = frames / max(1e-3, whole.cpu_s - start.cpu_s)
        found[f"{kind}_wall"] = frames / max(1e-3, whole.wall_s - start.wall_s)
        found[f"{kind}_mib"] = whole.peak_mib
    return found


def shares(folder: Path, names: list[str], seconds: int, detector: str, hz: float) -> None:
    """The table of decoding and the process verb; and of SD beside a detector on every frame."""
    print(f"\n| frames a CPU-second at {hz:g} looks a second | Mbit/s | decode | process | share, CPU | wall | peak MiB |")
    print("|---|---|---|---|---|---|---|")
    beside = ""
    for name in names:
        one = measure(folder, name, seconds, detector, hz)
        share, wall_share = one["process_cpu"] / one["decode_cpu"], one["process_wall"] / one["decode_wall"]
        print(
            f"| {name} | {one['mbit_s']} | {one['decode_cpu']:.0f} | {one['process_cpu']:.0f} | {share:.0%} | {wall_share:.0%} "
            f"| {one['process_mib']:.0f} |",
            flush=True,
        )
        if name == "sd":
            every = 1 / (1 / one["decode_cpu"] + yolo.cpu_s())
            times = one["process_cpu"] / every
            beside = (
                f"\nSD, YOLOv8n's network on every frame: {every:.1f} frames a CPU-second; the process verb: {times:.1f} times"
            )
    print(beside)


def hour(folder: Path, detector: str, hz: float) -> None:
    """Six minutes, and an hour."""
    print("\n| highway, looped | CPU-s | frames a CPU-second | wall s | peak MiB |\n|---|---|---|---|---|")
    for seconds in (360, 3600):
        found = cost("process", looped(folder / f"hour-{seconds}.mp4", seconds), detector, hz)
        frames = seconds * WALL_RATE / found.cpu_s
        print(
            f"| {seconds // 60} minutes | {found.cpu_s:.0f} | {frames:.0f} | {found.wall_s:.0f} | {found.peak_mib:.0f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--videos", default="sd,1080p,4k,wall1080p,wall4k")
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--hz", type=float, default=5.0)
    parser.add_argument("--detector", default="auto")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "tilery-cctv-speed")
    parser.add_argument("--no-hour", action="store_true")
    parser.add_argument("--task", nargs=2, metavar=("KIND", "VIDEO"))
    given = parser.parse_args()
    if given.task:
        print(task(given.task[0], Path(given.task[1]), given.detector, given.hz))
        return
    given.folder.mkdir(parents=True, exist_ok=True)
    print(machine())
    shares(given.folder, given.videos.split(","), given.seconds, given.detector, given.hz)
    if not given.no_hour:
        hour(given.folder, given.detector, given.hz)


if __name__ == "__main__":
    main()
