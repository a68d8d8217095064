"""Whether the clock of a transport stream goes back within the file, as where recordings were joined or a camera started anew.

FFmpeg would find the later pictures at the places of the earlier ones. A few looks at the packets (ISO 13818-1, 2.4.3) tell.
"""

from __future__ import annotations

from itertools import pairwise

from tilery.workloads.cctv.opening import TS_SYNC, packets_in
from tilery.workloads.cctv.ranges import Ranges

LOOKS = 8
"""Places of the file that are looked at."""
LOOKED_BYTES = 128 << 10
"""There, for a packet of the stream with a time: more than a frame takes at most bit rates."""
BACK_S = 2
"""Pictures that are coded before those they follow go back by less."""
HZ = 90_000
TURN = 1 << 33
"""The clock begins anew after this many ticks, 26.5 hours, which is no going back."""


def goes_back(file: Ranges, size: int, stream: int) -> bool:
    """Whether times of a stream (its packet identifier) go back from one place of the file to a later one."""
    found = []
    for place in range(LOOKS):
        file.seek(place * size // LOOKS)
        if (time := first_time(file.read(min(LOOKED_BYTES, size // LOOKS)), stream)) is not None:
            found.append(time)
    steps = [(later - earlier) % TURN for earlier, later in pairwise(found)]
    return any(TURN // 2 < step < TURN - BACK_S * HZ for step in steps)


def first_time(data: bytes, stream: int) -> int | None:
    """The first time (ticks; of decoding where it is told) of a stream in some bytes of a transport stream."""
    if (found := packets_in(data)) is None:
        return None
    first, step = found
    times = (_time(data[at : at + step], stream) for at in range(first, len(data) - step, step))
    return next((time for time in times if time is not None), None)


def _time(packet: bytes, stream: int) -> int | None:
    """Of a packet in which a picture of the stream begins."""
    if packet[0] != TS_SYNC or not packet[1] & 0x40 or (packet[1] & 0x1F) << 8 | packet[2] != stream:
        return None
    at = 5 + packet[4] if packet[3] & 0x20 else 4
    if packet[at : at + 3] != b"\0\0\1" or at + 19 > len(packet) or not packet[at + 7] & 0x80:
        return None
    at += 14 if packet[at + 7] & 0x40 else 9
    return (
        (packet[at] >> 1 & 7) << 30
        | packet[at + 1] << 22
        | packet[at + 2] >> 1 << 15
        | packet[at + 3] << 7
        | packet[at + 4] >> 1
    )
