"""Small videos made on the spot, and the run that holds them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from tilery.run import Source
from tilery.store.directory import DirectoryStore
from tilery.workloads.cctv.clips import Clip
from tilery.workloads.cctv.decode import Picture, decode
from tilery.workloads.cctv.options import CctvOptions
from tilery.workloads.cctv.sizing import size

OPEN_GOP = {"x264-params": "open-gop=1:keyint=12:min-keyint=12:scenecut=0:bframes=3:b-adapt=0"}
CLOSED_GOP = {"x264-params": "keyint=12:min-keyint=12:scenecut=0:bframes=2:b-adapt=0"}


def scene(number: int, width: int = 96, height: int = 64) -> NDArray[np.uint8]:
    """A picture of its own for every number: a bright square walks over a slope with a little noise."""
    random = np.random.default_rng(number)
    rows, columns = np.mgrid[0:height, 0:width]
    picture = np.stack([rows * 2, columns, (rows + columns + number) % 256], axis=-1) + random.integers(
        0, 8, (height, width, 1)
    )
    left = number * 3 % max(1, width - 16)
    picture[10:26, left : left + 16] = (250, 30 + number % 100, 60)
    return picture.clip(0, 255).astype(np.uint8)


def make(
    path: Path,
    *,
    frames: int = 60,
    size: tuple[int, int] = (96, 64),
    codec: str = "libx264",
    rate: Fraction = Fraction(30),
    options: dict[str, str] | None = None,
    container: dict[str, str] | None = None,
    times: Callable[[int], int] | None = None,
    time_base: Fraction | None = None,
    pixels: str = "yuv420p",
    sound: bool = False,
    rotation: float = 0,
    gop: int = 12,
    metadata: dict[str, str] | None = None,
    format: str | None = None,
) -> Path:
    """A video of `scene`s at `path`; `times` maps a frame's number to its pts in `time_base`."""
    with av.open(str(path), "w", format=format, options=container or {}) as output:
        output.metadata.update(metadata or {})
        stream: Any = output.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt = size[0], size[1], pixels
        stream.codec_context.gop_size = gop
        stream.codec_context.thread_count = 1
        if time_base:
            stream.codec_context.time_base = time_base
        if rotation:
            stream.set_display_rotation(rotation)
        audio: Any = output.add_stream("aac", rate=16000) if sound else None
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(scene(number, *size), format="rgb24")
            frame.pts = times(number) if times else number
            frame.time_base = time_base or 1 / rate
            output.mux(stream.encode(frame))
            if audio:
                silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
                silence.sample_rate, silence.pts, silence.time_base = 16000, number * 1024, Fraction(1, 16000)
                output.mux(audio.encode(silence))
        output.mux(stream.encode(None))
        if audio:
            output.mux(audio.encode(None))
    return path


class Drop:
    """A store with files dropped into it: enough of a run for `size` and `decode`."""

    def __init__(self, root: Path) -> None:
        self.store = DirectoryStore(root)
        self.sources: list[Source] = []

    def add(self, path: Path, name: str = "") -> Drop:
        name = name or path.name
        key = f"drop/acme/cctv/site/{name}"
        self.store.upload(str(path), key)
        entry = self.store.head(key)
        assert entry is not None
        self.sources.append(Source(name=name, key=key, size=entry.size, version=entry.version))
        return self

    def size(self, **options: Any) -> Any:
        return size(self.sources, CctvOptions(**options), self.store)

    def clips(self, **options: Any) -> list[Clip]:
        return [Clip.of(facts) for facts in self.size(**options).facts["clips"]]

    def decode(self, clip: Clip, *args: Any, **how: Any) -> list[Picture]:
        return list(decode(self.store, self, clip, *args, **how))


def print_of(picture: Picture) -> tuple[int, str]:
    """Time and content."""
    return picture.clip_us, "" if picture.damaged else hashlib.sha256(picture.rgb().tobytes()).hexdigest()[:12]


def number_of(picture: Picture) -> int:
    """Which scene a picture shows, from where its square is; good for 27 numbers at the usual size."""
    red = picture.rgb()[10:26].astype(int)
    bright = ((red[..., 0] - red[..., 1]) > 80).sum(axis=0)
    return round(float(np.flatnonzero(bright > 8).min()) / 3)
