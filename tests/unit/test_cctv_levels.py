"""Scenes of little contrast."""

from __future__ import annotations

import numpy as np
import pytest

from tilery.workloads.cctv.levels import MOST, SPREAD, Levels


def scene(low: int, high: int) -> np.ndarray:
    return np.linspace(low, high, 64 * 48 * 3).round().astype(np.uint8).reshape(48, 64, 3)


def test_a_picture_with_enough_contrast_stays_as_it_is() -> None:
    picture = scene(20, 220)
    assert Levels.of(picture)(picture) is picture


@pytest.mark.parametrize(("low", "high"), [(100, 150), (2, 60), (190, 250)])
def test_a_faint_picture_has_enough_contrast_afterwards_and_its_order(low: int, high: int) -> None:
    picture = scene(low, high)
    after = Levels.of(picture)(picture)
    dark, bright = np.percentile(after, [5, 95])
    assert SPREAD - 6 <= bright - dark <= SPREAD + 6
    assert (np.diff(after.reshape(-1).astype(int)) >= 0).all()


@pytest.mark.parametrize("level", [0, 90, 255])
def test_a_picture_of_nothing_says_nothing_about_those_after_it(level: int) -> None:
    blank = np.full((48, 64, 3), level, np.uint8)
    blank[5:8, 5:20] = 128
    after = scene(20, 220)
    assert Levels.of(blank)(after) is after


def test_noise_is_not_made_much_of() -> None:
    noise = scene(100, 110)
    assert np.ptp(Levels.of(noise)(noise)) <= MOST * 10 + 1
