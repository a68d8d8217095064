"""A drone's frames are laid over one reference frame: to a fraction of a pixel, at once, and never by chance."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tilery.workloads.cctv.stabilise import Stabiliser, apply, fill_gaps, furthest, size

WIDTH, HEIGHT = 640, 480


@pytest.fixture(scope="module")
def ground() -> NDArray[np.uint8]:
    """Ground larger than a frame: blocks and blots of many sizes."""
    random = np.random.default_rng(3)
    picture = np.full((900, 1200), 120, np.uint8)
    for _ in range(900):
        x, y, w, h = random.integers(0, 1200), random.integers(0, 900), *random.integers(4, 40, 2)
        cv2.rectangle(picture, (x, y), (x + w, y + h), int(random.integers(20, 235)), -1)
    return cv2.GaussianBlur(picture, (0, 0), 1.0)


def view(dx: float = 0, dy: float = 0, turn: float = 0, zoom: float = 1.0) -> NDArray[np.float64]:
    """From the ground to a frame: looking `dx`, `dy` further, turned (degrees) about the frame's middle."""
    about = np.vstack([cv2.getRotationMatrix2D((WIDTH / 2, HEIGHT / 2), turn, zoom), [0, 0, 1]])
    return about @ np.array([[1, 0, -250 - dx], [0, 1, -200 - dy], [0, 0, 1.0]])


def seen(ground: NDArray[np.uint8], camera: NDArray[np.float64], cars: int = 0) -> NDArray[np.uint8]:
    """A frame, with so many cars that stand elsewhere in each."""
    frame = cv2.warpPerspective(ground, camera, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC)
    random = np.random.default_rng(int(abs(camera[0, 2]) * 7) + cars)
    for _ in range(cars):
        x, y = random.integers(0, WIDTH - 60), random.integers(0, HEIGHT - 40)
        frame[y : y + 30, x : x + 50] = random.integers(0, 255, (30, 50))
    return np.asarray(frame, np.uint8)


def strays(matrix: NDArray[np.float64], wanted: NDArray[np.float64]) -> float:
    points = np.array([[80, 60], [560, 60], [560, 420], [80, 420], [320, 240]], np.float64)
    return float(np.linalg.norm(apply(matrix, points) - apply(wanted, points), axis=1).max())


@pytest.mark.parametrize(
    "camera",
    [view(), view(40.3, -25.7), view(90, 60, turn=12), view(turn=-35, zoom=1.2), view(-60, 10, zoom=0.8)],
    ids=["still", "moved", "turned", "closer", "farther"],
)
def test_a_frame_is_registered_to_a_third_of_a_pixel_while_cars_move(
    ground: NDArray[np.uint8], camera: NDArray[np.float64]
) -> None:
    stabiliser = Stabiliser(seen(ground, view(), 20), WIDTH, HEIGHT)
    found = stabiliser.to_reference(seen(ground, camera, 20))
    assert found is not None
    assert strays(found.matrix, view() @ np.linalg.inv(camera)) < 0.34
    assert found.error_px < 0.3


def test_the_same_frame_gives_the_same_numbers_whatever_came_before(ground: NDArray[np.uint8]) -> None:
    frames = [seen(ground, view(9 * step, -4 * step, turn=step), 10) for step in range(6)]
    forward, backward = (Stabiliser(frames[0], WIDTH, HEIGHT) for _ in range(2))
    there = [forward.to_reference(frame) for frame in frames]
    back = [backward.to_reference(frame) for frame in reversed(frames)][::-1]
    assert all(a is not None and b is not None and np.array_equal(a.matrix, b.matrix) for a, b in zip(there, back, strict=True))


def test_errors_do_not_grow_along_a_flight(ground: NDArray[np.uint8]) -> None:
    stabiliser = Stabiliser(seen(ground, view()), WIDTH, HEIGHT)
    errors = []
    for step in range(0, 40, 4):
        camera = view(3 * step, 2 * step, turn=0.3 * step)
        found = stabiliser.to_reference(seen(ground, camera, 5))
        assert found is not None
        errors.append(strays(found.matrix, view() @ np.linalg.inv(camera)))
    assert max(errors) < 0.5
    assert np.mean(errors[-3:]) < np.mean(errors[:3]) + 0.3


def test_what_shows_other_ground_or_nothing_is_not_registered(ground: NDArray[np.uint8]) -> None:
    stabiliser = Stabiliser(seen(ground, view()), WIDTH, HEIGHT)
    noise = np.random.default_rng(1).integers(0, 255, (HEIGHT, WIDTH)).astype(np.uint8)
    mirrored = np.ascontiguousarray(seen(ground, view())[:, ::-1])
    assert stabiliser.to_reference(np.zeros((HEIGHT, WIDTH), np.uint8)) is None
    assert stabiliser.to_reference(noise) is None
    assert stabiliser.to_reference(mirrored) is None
    assert Stabiliser(np.zeros((HEIGHT, WIDTH), np.uint8), WIDTH, HEIGHT).to_reference(seen(ground, view())) is None


def test_matrices_are_in_pixels_of_the_full_frame(ground: NDArray[np.uint8]) -> None:
    assert size(3840, 2160) == (960, 540)
    assert size(640, 480) == (640, 480)
    stabiliser = Stabiliser(seen(ground, view()), 4 * WIDTH, 4 * HEIGHT)
    found = stabiliser.to_reference(seen(ground, view(30, 10)))
    assert found is not None
    assert apply(found.matrix, np.array([[100.0, 100.0]]))[0] == pytest.approx([220, 140], abs=1)


def test_frames_between_registered_ones_lie_between_them() -> None:
    times = np.array([0, 10, 20, 30], np.int64)
    matrices = np.stack([np.eye(3)] * 4)
    matrices[2, 0, 2] = 8
    matrices[1] = matrices[3] = np.nan
    filled = fill_gaps(times, matrices)
    assert filled[:, 0, 2].tolist() == [0, 4, 8, 8]
    assert np.array_equal(fill_gaps(times, np.full((4, 3, 3), np.nan)), np.stack([np.eye(3)] * 4))
    assert furthest(filled, 100, 100) == 8
    with pytest.raises(ValueError, match="cannot be laid over"):
        Stabiliser(np.zeros((10, 10), np.uint8), 10, 10).to_reference(np.zeros((9, 10), np.uint8))
