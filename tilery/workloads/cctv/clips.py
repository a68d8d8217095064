"""What size learned of one stretch of video: enough to decode any part of it later. Light: control functions load it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from fractions import Fraction
from typing import Any, Literal

BLOCK_US = 10_000_000
"""Everything with a memory starts afresh every so often (microseconds of the clip's own time); segments are whole blocks."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One video file, or one folder of frames. `dict(clip.json())` is an entry of `run.facts["clips"]`."""

    sources: list[int]
    """Places in `run.sources`: one video file, or the frames in order."""
    kind: Literal["video", "frames"]
    width: int
    """Of the upright picture, in pixels."""
    height: int
    offset_us: int
    """Where the clip begins on the camera's timeline (microseconds)."""
    duration_us: int
    """As far as headers say; the last segment reads to the end whatever this is."""
    skip_us: int = 0
    """Pictures before this moment of the clip are left out: an earlier clip has them."""
    frames: int = 0
    """An estimate."""
    rate: tuple[int, int] = (25, 1)
    """Frames a second, a fraction; the mean where it varies."""
    time_base: tuple[int, int] = (1, 1_000_000)
    first_pts: int = 0
    """Of the first picture: the clip's time 0 (units of time_base)."""
    stream: int = 0
    rotation: int = 0
    """Degrees counterclockwise by which the decoded picture is turned to stand upright: 0, 90, 180 or 270."""
    container: str = ""
    codec: str = ""
    counted: bool = False
    """Packets carry no usable times: pictures are counted from the start, `rate` a second, and so decoded from there."""
    sequential: bool = False
    """Nowhere but at its start can decoding begin: there is no other key frame, or no way to find one."""
    numbered: bool = True
    """The numbers of pictures in an H.264 stream can be believed (see `missing`)."""
    bytes: int = 0
    name: str = ""
    created: str = ""
    """When the camera says it began (ISO 8601), if it does."""
    keys: int = 0
    """Key frames in the container's index; 0 where it has none."""
    clusters: list[list[int]] = field(default_factory=list)
    """Time and place of clusters of a Matroska file that has no index (see `matroska`)."""
    warnings: list[str] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Clip:
        """The clip of an entry of `run.facts["clips"]`."""
        values = {name.name: facts[name.name] for name in fields(cls) if name.name in facts}
        for name in ("rate", "time_base"):
            values[name] = tuple(values[name])
        return cls(**values)

    def time_us(self, pts: int) -> int:
        """Microseconds of the clip, exactly: floor((pts - first pts) * time base * 10^6)."""
        return (pts - self.first_pts) * self.time_base[0] * 1_000_000 // self.time_base[1]

    def pts_at(self, time_us: int) -> int:
        """The latest pts that is not after this moment of the clip."""
        return self.first_pts + time_us * self.time_base[1] // (self.time_base[0] * 1_000_000)

    def frame_us(self, number: int) -> int:
        """When frame `number` of a folder, or of a counted video, was taken (microseconds of the clip)."""
        return number * self.rate[1] * 1_000_000 // self.rate[0]

    def frame_at(self, time_us: int) -> int:
        """The first frame of a folder, or of a counted video, that is not before this moment of the clip."""
        return -(-time_us * self.rate[0] // (self.rate[1] * 1_000_000))

    @property
    def latest_us(self) -> int:
        """No frame is later, whatever a damaged file says; headers may understate a duration, by so much."""
        return self.duration_us * 5 // 4 + 60_000_000

    @property
    def hz(self) -> Fraction:
        return Fraction(*self.rate)
