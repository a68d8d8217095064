"""The background model, what moves against it, and which tiles changed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tilery.workloads.cctv import motion, still
from tilery.workloads.cctv.detector import Found
from tilery.workloads.cctv.labels import LABELS, MOVING

SIDE = (120, 160)
GROUND = np.random.default_rng(1).integers(60, 180, (12, 16, 3)).repeat(10, 0).repeat(10, 1).astype(np.uint8)


def seen(left: int | None = None, noise: int = 0, shadow: int | None = None) -> NDArray[np.uint8]:
    """The ground, with a bright thing of 30 x 20 pixels whose left edge is there."""
    picture = GROUND.astype(float)
    if shadow is not None:
        picture[60:80, shadow : shadow + 30] *= 0.7
    if left is not None:
        picture[40:60, left : left + 30] = (250, 240, 20)
    picture += np.random.default_rng(noise).normal(0, 3, picture.shape)
    return picture.clip(0, 255).astype(np.uint8)


def background() -> motion.Background:
    """A thing crosses the picture, so each pixel shows it now and then."""
    return motion.Background.of([seen(left=10 * number, noise=number) for number in range(24)])


def test_what_crosses_the_picture_is_found_and_nothing_else() -> None:
    found = motion.blobs(background().moving(seen(left=50, noise=99)))
    assert len(found) == 1
    np.testing.assert_allclose(found.box[0], [50, 40, 80, 60], atol=1)
    assert found.score[0] > motion.CONFIDENT
    assert LABELS[found.label[0]] == MOVING


def test_an_empty_picture_has_no_motion_even_where_things_have_just_been() -> None:
    assert not background().moving(seen(noise=7)).any()


def test_a_shadow_is_no_motion_but_the_thing_is() -> None:
    mask = background().moving(seen(left=50, noise=3, shadow=60))
    assert mask[40:60, 50:80].mean() > 0.95
    assert mask[62:80].mean() < 0.01


def test_a_pixel_with_two_looks_has_two_backgrounds() -> None:
    other = GROUND.copy()
    other[20:60, 20:60] = 255 - other[20:60, 20:60]
    model = motion.Background.of([GROUND if number % 2 else other for number in range(20)])
    assert not model.moving(other).any()
    assert not model.moving(GROUND).any()


def test_shares_are_means_of_the_mask_under_the_boxes() -> None:
    mask = np.zeros(SIDE, np.uint8)
    mask[10:20, 10:30] = 1
    boxes = np.array([[10, 10, 30, 20], [0, 0, 20, 20], [100, 100, 160, 120], [159.5, 119.5, 170, 130]], np.float32)
    np.testing.assert_allclose(motion.shares(mask, boxes), [1, 0.25, 0, 0], atol=1e-6)


def test_beside_a_detector_faint_boxes_need_motion_and_uncovered_motion_gets_a_low_score() -> None:
    mask = np.zeros(SIDE, np.uint8)
    mask[10:40, 10:40] = mask[80:110, 100:140] = 1
    box = np.array([[10, 10, 40, 40], [60, 60, 80, 80], [60, 10, 80, 30], [12, 12, 38, 38]], np.float32)
    given = Found(np.zeros(4, np.uint8), np.array([0.9, 0.7, 0.15, 0.12], np.float32), box)
    both, moving = motion.fused(given, mask, 0.45)
    np.testing.assert_allclose(both.score[[0, 1, 3]], [0.9, 0.7, 0.12])
    np.testing.assert_allclose(both.box[2], [100, 80, 140, 110])
    assert LABELS[both.label[2]] == MOVING
    assert both.score[2] <= motion.UNNAMED_SCORE
    np.testing.assert_allclose(moving, [1, 0, 1, 1])


@pytest.mark.parametrize("noise", [0, 3, 5])
def test_noise_changes_no_tile_and_a_small_thing_changes_its_own(noise: int) -> None:
    random = np.random.default_rng(noise)
    flat = np.full((90, 150), 100.0)

    def noisy(picture: NDArray[np.float64]) -> NDArray[np.uint8]:
        return still.cells((picture + random.normal(0, noise, picture.shape)).clip(0, 255).astype(np.uint8))

    assert not still.changed(noisy(flat), noisy(flat)).any()
    thing = flat.copy()
    thing[40:48, 70:78] = 180
    changed = still.changed(noisy(flat), noisy(thing))
    assert changed.shape == (6, 10)
    assert changed[2, 4]
    assert changed.sum() == 1


def test_a_vehicle_that_is_a_blob_too_is_surer_and_of_people_that_is_not_said() -> None:
    mask = np.zeros(SIDE, np.uint8)
    mask[10:40, 10:40] = 1
    box = np.array([[10, 10, 40, 42], [12, 10, 40, 40], [60, 60, 80, 80]], np.float32)
    score = np.array([0.5, 0.3, 0.4], np.float32)
    for label, wanted in (("car", [0.7, 0.4, 0.3]), ("person", [0.5, 0.4, 0.3])):
        given = Found(np.full(3, LABELS.index(label), np.uint8), score, box)
        both, _ = motion.fused(given, mask, 0.45)
        np.testing.assert_allclose(both.score, wanted, rtol=1e-6)
