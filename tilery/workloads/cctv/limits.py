"""What a video may ask of us, and what FFmpeg may do: hostile files meet a sentence, not the memory of the worker."""

from __future__ import annotations

from tilery.outcomes import BadInput

MOST_STREAMS = 64
MOST_FRAMES = 50_000_000
"""Of one clip: 48 h at 240 frames a second are 41 million."""
MOST_INDEX = 1 << 30
"""Bytes of an MP4 file's index; 20 for each of the most frames."""
MOST_CLIPS = 5_000
MOST_DAYS = 366
"""From the first clip of a timeline to the last."""
MOST_IMAGES = 2_000_000
LARGEST_SIDE = 16_384
CODECS = (
    "h264", "hevc", "mjpeg", "mpeg4", "msmpeg4v2", "msmpeg4v3", "msmpeg4", "mpeg1video", "mpeg2video", "h263", "vp8", "vp9",
    "av1", "png", "rawvideo", "prores", "dnxhd", "huffyuv", "ffv1",
)  # fmt: skip
"""What may be decoded, by FFmpeg's names of codecs."""
DECODERS = (*CODECS, "libdav1d", "aac", "mp3", "mp3float", "ac3", "eac3", "pcm_s16le", "opus", "vorbis", "flac")
"""Decoders that FFmpeg may open while it looks at a container."""


def demuxer_options(probe_bytes: int) -> dict[str, str]:
    """FFmpeg may read the one object that it is given: no protocol, no other container, few streams, few bytes to look at."""
    return {
        "protocol_whitelist": "none",
        "codec_whitelist": ",".join(DECODERS),
        "max_streams": str(MOST_STREAMS),
        "probesize": str(probe_bytes),
        "analyzeduration": "3000000",
        "enable_drefs": "0",
        "max_pixels": str(LARGEST_SIDE * LARGEST_SIDE),
    }


def check_size(name: str, width: int, height: int, most_pixels: float) -> None:
    """`BadInput` for a frame that is larger than the run allows."""
    if width * height > most_pixels or max(width, height) > LARGEST_SIDE:
        raise BadInput(
            f"{name} has frames of {width} x {height} pixels, more than {most_pixels / 1e6:g} megapixels; "
            f"set max_megapixels if that is right (no side may be longer than {LARGEST_SIDE})"
        )
