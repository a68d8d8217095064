"""The part of a frame in which something changed: where it lies, and what becomes of what was found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilery.workloads.cctv import region
from tilery.workloads.cctv.detector import Found
from tilery.workloads.cctv.slices import Window
from tilery.workloads.cctv.still import TILE

WIDTH, HEIGHT = 512, 288


def tiles(*places: tuple[int, int]) -> region.Tiles:
    """Those of these rows and columns."""
    changed = np.zeros((HEIGHT // TILE, WIDTH // TILE), bool)
    for row, column in places:
        changed[row, column] = True
    return changed


def found(*boxes: tuple[float, float, float, float], score: float = 0.5) -> Found:
    return Found(np.zeros(len(boxes), np.uint8), np.full(len(boxes), score, np.float32), np.array(boxes, np.float32))


@given(
    places=st.lists(
        st.tuples(st.integers(0, HEIGHT // TILE - 1), st.integers(0, WIDTH // TILE - 1)), min_size=1, max_size=6, unique=True
    )
)
def test_what_changed_lies_in_its_middle_and_it_begins_where_the_network_has_a_cell(places: list[tuple[int, int]]) -> None:
    window = region.around(tiles(*places), WIDTH, HEIGHT)
    rows, columns = np.array(places).T * TILE
    if window is None:
        around = TILE + 2 * (region.CONTEXT + region.STEP)
        assert (np.ptp(columns) + around) * (np.ptp(rows) + around) > region.MOST * WIDTH * HEIGHT
        return
    assert window.width * window.height <= region.MOST * WIDTH * HEIGHT
    for start, length, side, changed in (
        (window.left, window.width, WIDTH, columns),
        (window.top, window.height, HEIGHT, rows),
    ):
        assert start == 0 or (start % region.STEP == 0 and start <= changed.min() - region.CONTEXT)
        assert start + length == side or start + length >= changed.max() + TILE + region.CONTEXT
        assert 0 <= start < start + length <= side


def test_what_was_found_where_nothing_changed_stands_and_the_rest_is_what_is_found_now() -> None:
    changed, window = tiles((4, 10), (5, 10)), Window(96, 0, 128, 160)
    stands, gone, walks = (300.0, 40.0, 320.0, 90.0), (160.0, 70.0, 170.0, 100.0), (156.0, 60.0, 182.0, 100.0)
    # the window cuts one thing, and where another one is nothing changed
    now = found(walks, (160.0, 70.0, 224.0, 120.0), (100.0, 10.0, 120.0, 40.0))
    got = region.renewed(found(stands, gone), now, changed, window, WIDTH, HEIGHT)
    assert sorted(map(tuple, got.box.tolist())) == sorted([stands, walks])


@pytest.mark.parametrize(("again", "count"), [((120.0, 42.0, 222.0, 120.0), 1), ((160.0, 70.0, 180.0, 100.0), 2)])
def test_what_reaches_out_of_the_window_stays_unless_it_is_seen_anew(
    again: tuple[float, float, float, float], count: int
) -> None:
    changed, window = tiles((4, 10), (5, 10)), Window(96, 32, 128, 128)
    lorry = found((118.0, 40.0, 230.0, 120.0))
    assert len(region.renewed(lorry, found(again), changed, window, WIDTH, HEIGHT)) == count
    assert region.renewed(lorry, Found.nothing(), changed, window, WIDTH, HEIGHT).box.tolist() == lorry.box.tolist()
