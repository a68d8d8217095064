"""What a folder of frames is: one picture decoded, the sizes of some others, the rest by name."""

from __future__ import annotations

import configparser
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import cv2
import numpy as np

from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.store.port import Store
from tilery.workloads.cctv.clips import Clip
from tilery.workloads.cctv.limits import MOST_IMAGES, check_size
from tilery.workloads.cctv.pictures import HEAD, dimensions
from tilery.workloads.cctv.probe import Probed
from tilery.workloads.cctv.timeline import natural

ASSUMED_HZ = 25.0
FASTEST_HZ = 1000
STATED = "seqinfo.ini"
LONGEST_INFO = 1 << 16
LOOKED_AT = 32
"""Frames whose size is read before the run; one of another size that is found later is damaged."""


def stated_hz(store: Store, source: Source) -> float | None:
    """Frames a second by the `seqinfo.ini` of a sequence of the MOT challenge; None where it says nothing of use."""
    text = store.get_range(source.key, 0, LONGEST_INFO, version=source.version).decode(errors="replace")
    info = configparser.ConfigParser(interpolation=None)
    with suppress(configparser.Error, ValueError):
        info.read_string(text)
        hz = info.getfloat("Sequence", "frameRate")
        return hz if 0 < hz <= FASTEST_HZ else None
    return None


def probe_folder(
    store: Store, sources: Sequence[Source], places: Sequence[int], hz: float | None, most_pixels: float
) -> Probed:
    """A clip of the frames at `places` in `sources`, in the natural order of their names. `BadInput` names the odd one out."""
    if len(places) > MOST_IMAGES:
        raise BadInput(f"the drop holds {len(places):,} frames, more than {MOST_IMAGES:,}; make a video of them")
    ordered = sorted(places, key=lambda place: natural(sources[place].name))
    first = sources[ordered[0]]
    step = max(1, len(ordered) // LOOKED_AT)
    some = [sources[place] for place in dict.fromkeys([*ordered[::step], ordered[-1]])]
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda source: dimensions(store.get_range(source.key, 0, HEAD, version=source.version)), some))
    for source, found in zip(some, sizes, strict=True):
        if found is None:
            raise BadInput(f"{source.name} is not a JPEG or PNG picture; take it out, or upload it again")
        if found != sizes[0]:
            wide, high = sizes[0] or (0, 0)
            raise BadInput(
                f"{source.name} has {found[0]} x {found[1]} pixels and {first.name} {wide} x {high}; "
                "frames of one camera have one size: drop the others apart"
            )
    assert sizes[0] is not None
    check_size(first.name, *sizes[0], most_pixels)
    height, width = _upright(store, first)
    rate = _fraction(hz or ASSUMED_HZ)
    warnings = [] if hz else [f"frames have no times; {ASSUMED_HZ:g} a second are assumed: set frame_hz"]
    clip = Clip(
        sources=list(ordered),
        kind="frames",
        width=width,
        height=height,
        offset_us=0,
        duration_us=len(ordered) * rate[1] * 1_000_000 // rate[0],
        frames=len(ordered),
        rate=rate,
        codec="png" if first.name.lower().endswith(".png") else "mjpeg",
        container="folder",
        bytes=sum(sources[place].size for place in ordered),
        name=first.name,
        keys=len(ordered),
        warnings=warnings,
    )
    return Probed(clip)


def _upright(store: Store, source: Source) -> tuple[int, int]:
    """Height and width as decoded, turned as the camera says."""
    data = store.get(source.key, version=source.version)
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise BadInput(f"{source.name} cannot be decoded; take it out, or upload it again")
    return pixels.shape[0], pixels.shape[1]


def _fraction(hz: float) -> tuple[int, int]:
    from fractions import Fraction

    rate = Fraction(hz).limit_denominator(1_001_000)
    return rate.numerator, rate.denominator
