"""Tables of a segment as bytes."""

from __future__ import annotations

import numpy as np

from tests.unit.cctv_video import scene
from tilery.workloads.cctv import tables
from tilery.workloads.cctv.detections import Detections
from tilery.workloads.cctv.frames import Frames


def frames(count: int) -> Frames:
    matrices = np.tile(np.eye(3), (count, 1, 1))
    matrices[1::2] = np.nan
    return Frames(np.arange(count, dtype=np.int64) * 33_333, np.arange(count, dtype=np.uint8) % 4, matrices)


def detections(count: int) -> Detections:
    random = np.random.default_rng(count)
    moving = random.random(count, np.float32)
    moving[::3] = np.nan
    return Detections(
        np.sort(random.integers(0, 10**12, count)),
        random.integers(0, 81, count).astype(np.uint8),
        random.random(count, np.float32),
        random.random((count, 4), np.float32) * 4000,
        moving,
    )


def test_frames_come_back_as_they_were_and_the_same_frames_give_the_same_bytes() -> None:
    for count in (0, 1, 7):
        data = tables.encode_frames(frames(count))
        assert data == tables.encode_frames(frames(count))
        again = tables.decode_frames(data)
        for name in Frames.__slots__:
            np.testing.assert_array_equal(getattr(again, name), getattr(frames(count), name))


def test_detections_come_back_with_their_types_and_unknown_motion() -> None:
    for count in (0, 1, 50):
        data = tables.encode_detections(detections(count))
        assert data == tables.encode_detections(detections(count))
        again = tables.decode_detections(data)
        for name in Detections.__slots__:
            np.testing.assert_array_equal(getattr(again, name), getattr(detections(count), name))
            assert getattr(again, name).dtype == getattr(detections(count), name).dtype


def test_pictures_come_back_with_their_times_and_looks() -> None:
    pictures = [(time_us, scene(time_us % 7)) for time_us in (5, 5_000_000)]
    data = tables.encode_pictures([tables.Packed.of(*one) for one in pictures])
    assert data == tables.encode_pictures([tables.Packed.of(*one) for one in pictures])
    again = tables.decode_pictures(data)
    assert [time_us for time_us, _ in again] == [5, 5_000_000]
    for (_, now), (_, before) in zip(again, pictures, strict=True):
        assert now.shape == before.shape
        assert np.abs(now.astype(int) - before).mean() < 3, "no colour is taken for another"
    assert tables.decode_pictures(tables.encode_pictures([])) == []
