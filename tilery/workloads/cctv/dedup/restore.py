"""Stored stretches of frames as files again."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2

from tilery.outcomes import BadInput
from tilery.workloads.cctv.dedup.kept import files_of, frames_of
from tilery.workloads.cctv.dedup.packs import Packs, read_recipe

_US = Fraction(1, 1_000_000)


def stretches(packs: Packs, beginning: str = "") -> list[str]:
    """Names that begin so, sorted. A run's begin with the same characters, a clip's with more of them."""
    return [name.removesuffix(".json") for name in packs.names("recipes") if name.startswith(beginning)]


def restore(packs: Packs, name: str, folder: Path) -> list[Path]:
    """Write the frames of a stretch below `folder`; the files written. Raises `BadInput`, `Damaged`.

    JPEG files come back bit for bit, PNG files with the same pixels, both under their own names; video as one NUT file of
    uncompressed pictures (ffplay, mpv and VLC play it) at the times they had in their clip, not turned.
    """
    recipe = read_recipe(packs, name)
    about = recipe.get("about")
    if not about:
        raise BadInput(f"{name!r} was stored without what its frames were, as by versions before; run the drop again")
    if "names" not in about:
        return [_video(packs, name, about, folder)]
    paths = [_inside(folder, file) for file in about["names"]]
    if recipe["kind"] == "jpeg":
        for path, data in zip(paths, files_of(packs, name), strict=True):
            path.write_bytes(data)
    else:
        for path, pixels in zip(paths, frames_of(packs, name), strict=True):
            path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return paths


def _video(packs: Packs, name: str, about: dict[str, Any], folder: Path) -> Path:
    path = _inside(folder, f"{name}.nut")
    with av.open(str(path), "w", format="nut") as container:
        stream = container.add_stream("rawvideo")
        stream.pix_fmt = about["layout"]
        stream.codec_context.time_base = stream.time_base = _US
        for time_us, samples in zip(about["times_us"], frames_of(packs, name), strict=True):
            frame = av.VideoFrame.from_ndarray(samples, format=about["layout"])
            frame.pts, frame.time_base = time_us, _US
            if not stream.codec_context.is_open:
                stream.width, stream.height = frame.width, frame.height
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise BadInput(f"the stored name {name!r} leads out of {folder}")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
