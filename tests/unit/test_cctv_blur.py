"""People and plates cannot be made out in what is published, and nothing else is touched. The background, too."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tilery.workloads.cctv.blur import hide, hide_where, regions, standing
from tilery.workloads.cctv.labels import LABELS
from tilery.workloads.cctv.median import median, median_of_moved

PERSON, CAR, DOG, MOVING = (LABELS.index(name) for name in ("person", "car", "dog", "moving"))


@pytest.fixture
def picture() -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 255, (120, 200, 3)).astype(np.uint8)


def boxes(*values: tuple[float, float, float, float]) -> NDArray[np.float32]:
    return np.array(values, np.float32).reshape(-1, 4)


def labels(*values: int) -> NDArray[np.uint8]:
    return np.array(values, np.uint8)


def test_a_person_becomes_a_few_flat_cells_and_the_rest_stays(picture: NDArray[np.uint8]) -> None:
    hidden = regions(boxes((50, 20, 80, 90)), labels(PERSON), ["people"], 200, 120)
    assert hidden == [(46, 11, 84, 99)]
    result = hide(picture, hidden)
    inside = result[11:99, 46:84].reshape(-1, 3)
    assert len(np.unique(inside, axis=0)) <= 5 * 11
    outside = np.ones((120, 200), bool)
    outside[11:99, 46:84] = False
    assert np.array_equal(result[outside], picture[outside])
    assert not np.array_equal(result, picture), "and the picture that was given is as it was"


def test_two_people_of_the_same_cells_look_the_same(picture: NDArray[np.uint8]) -> None:
    flat = np.full_like(picture, 90)
    flat[30:60:2, 60:90] = 180
    other = np.full_like(picture, 90)
    other[31:61:2, 60:90] = 180
    region = [(60, 30, 90, 60)]
    assert np.array_equal(hide(flat, region)[30:60, 60:90], hide(other, region)[30:60, 60:90])


def test_plates_are_the_lower_half_of_vehicles_and_what_only_moves_is_hidden_whole() -> None:
    box = boxes((50, 20, 150, 100))
    (plate,) = regions(box, labels(CAR), ["plates"], 200, 120)
    assert plate == (38, 55, 162, 105)
    assert regions(box, labels(CAR), ["people"], 200, 120) == []
    assert regions(box, labels(DOG), ["people", "plates"], 200, 120) == []
    assert len(regions(box, labels(MOVING), ["people"], 200, 120)) == 1
    assert regions(boxes((-50, -50, -20, -20)), labels(PERSON), ["people"], 200, 120) == []


def test_one_who_stands_for_long_is_hidden_in_the_background_and_a_passer_by_changes_nothing(
    picture: NDArray[np.uint8],
) -> None:
    stays = np.tile(boxes((20, 20, 40, 60)), (40, 1))
    passes = boxes((120, 20, 140, 60))
    both = np.concatenate([stays, passes])
    where = standing(both, np.full(41, PERSON, np.uint8), 100, ["people"], 200, 120)
    assert where[20:60, 20:40].all()
    assert not where[:, 100:].any()
    result = hide_where(picture, where)
    assert not np.array_equal(result[20:60, 20:40], picture[20:60, 20:40])
    assert np.array_equal(result[:, 100:], picture[:, 100:])


def test_the_background_is_the_median_that_was_really_seen() -> None:
    values = np.random.default_rng(2).integers(0, 255, (6, 130, 31, 3)).astype(np.uint8)
    assert np.array_equal(median(list(values)), np.sort(values, axis=0)[2])
    with pytest.raises(ValueError, match="at least one picture"):
        median([])


def test_a_drones_background_is_laid_over_the_reference() -> None:
    scene = np.random.default_rng(2).integers(1, 255, (90, 140, 3)).astype(np.uint8)
    shifts = [0, 10, 20, 30, 40]
    views = [scene[:, shift : shift + 100] for shift in shifts]
    matrices = [np.array([[1, 0, shift], [0, 1, 0], [0, 0, 1.0]]) for shift in shifts]
    assert np.array_equal(median_of_moved(views, matrices), scene[:, :100])
    away = [np.array([[1, 0, 60.0], [0, 1, 0], [0, 0, 1]])]
    assert not median_of_moved(views[:1], away)[:, :50].any()
