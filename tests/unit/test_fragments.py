"""Fragments and labels survive the trip, and damage is noticed."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilery.outcomes import Incomplete
from tilery.workloads.pointcloud import fragments


@settings(deadline=None)
@given(st.integers(0, 99), st.integers(0, 2**32 - 1))
def test_a_fragment_survives(count: int, seed: int) -> None:
    given_points = _small(count, seed)
    back = fragments.decode(fragments.encode(given_points), "f")
    assert back.shard == given_points.shard
    for name in fragments.COLUMNS:
        before, after = getattr(given_points, name), getattr(back, name)
        if before is None:
            assert after is None
            continue
        assert (before.dtype, before.shape) == (after.dtype, after.shape)
        assert before.tolist() == after.tolist()


def _small(count: int, seed: int) -> fragments.Fragment:
    random = np.random.default_rng(seed)
    x, y = random.integers(-900_000, 5_000_000, (2, count))
    index = np.unique(random.integers(0, 2**32, count, dtype=np.uint64)).astype(np.uint32)
    n = len(index)
    z = random.integers(-400_000, 9_000_000, n).astype(np.int32)
    returns, source = random.integers(0, 256, (2, n)).astype(np.uint8)
    intensity = random.integers(0, 2**16, n).astype(np.uint16) if seed % 2 else None
    rgb = random.integers(0, 2**16, (n, 3)).astype(np.uint16) if seed % 3 else None
    return fragments.Fragment(3, x[:n], y[:n], z, returns, index, source, intensity, rgb)


def test_a_file_without_colour_is_black_beside_one_that_has_it() -> None:
    plain, coloured = _small(5, 3), _small(7, 1)
    assert plain.rgb is None
    assert coloured.rgb is not None
    both, starts = fragments.join([plain, coloured])
    assert starts.tolist() == [0, 5, 12]
    assert both.rgb is not None
    assert both.rgb.tolist() == [[0, 0, 0]] * 5 + coloured.rgb.tolist()
    assert both.take(np.array([6, 2])).source.tolist() == [coloured.source[1], plain.source[2]]


@pytest.mark.parametrize("cut", [3, 30, -1])
def test_a_cut_fragment_is_named(cut: int) -> None:
    with pytest.raises(Incomplete, match="tiles/x1_y2/0"):
        fragments.decode(fragments.encode(_small(50, 1))[:cut], "tiles/x1_y2/0")


@pytest.mark.parametrize("flat", [False, True])
def test_a_flipped_bit_is_noticed_wherever_it_is(flat: bool) -> None:
    points = _small(50, 1)
    data = fragments.encode(points.take(np.array([3])) if flat else points)  # of one point every column is constant
    for place in range(len(data)):
        with pytest.raises(Incomplete, match="damaged"):
            fragments.decode(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], "f")


@pytest.mark.parametrize("kind", ["u1", "<u2", "<u4"])
def test_bytes_are_packed_as_pays(kind: str) -> None:
    random, size = np.random.default_rng(2), np.dtype(kind).itemsize
    count = 20_000
    noise = random.integers(0, np.iinfo(kind).max, count).astype(kind)
    runs = np.repeat(np.arange(count // 1_000), 1_000).astype(kind)
    packed = {name: list(fragments._packed(values)) for name, values in (("noise", noise), ("runs", runs), ("same", noise[:1]))}
    sizes = {name: sum(map(len, parts)) for name, parts in packed.items()}
    assert sizes == {"noise": size * (count + 5), "runs": sizes["runs"], "same": size * 6}
    assert sizes["runs"] < count // 50
    for values in (noise, runs, np.full(count, 7, kind), noise[:0]):
        sealed = fragments._sealed(b"head", fragments._packed(values))
        planes = fragments._Planes(sealed, 4, len(values), "f")
        assert np.array_equal(planes.column(kind), values)
        planes.end()


def labels(index: list[int], value: int, shard: int = 4) -> bytes:
    count = len(index)
    columns = (np.full(count, value, np.uint8), np.zeros(count, np.uint32), np.zeros(count, np.uint8))
    return fragments.encode_labels(fragments.Labels(shard, np.array(index, dtype=np.uint32), *columns))


def test_a_label_that_hangs_on_a_region_changes_where_it_is_refused() -> None:
    index, number = np.array([2, 5, 7, 8], np.uint32), np.array([0, 3, 4, 3], np.uint32)
    label, otherwise = np.array([6, 6, 6, 6], np.uint8), np.array([0, 5, 5, 4], np.uint8)
    back = fragments.decode_labels(fragments.encode_labels(fragments.Labels(1, index, label, number, otherwise)), "f")
    assert back.final([]).tolist() == [6, 6, 6, 6]
    assert back.final([3]).tolist() == [6, 5, 6, 4]
    assert back.final([3, 4]).tolist() == [6, 5, 5, 4]


def test_labels_come_together_in_the_order_of_the_shard() -> None:
    parts = [("b", labels([1, 3], 2), []), ("a", labels([0, 2], 1), [])]
    assert fragments.assemble(4, 4, parts).tolist() == [1, 2, 1, 2]


def test_a_point_without_label_is_an_error() -> None:
    with pytest.raises(Incomplete, match=r"2 of 4 points"):
        fragments.assemble(4, 4, [("a", labels([0, 2], 1), [])])


def test_a_point_labelled_twice_is_an_error() -> None:
    with pytest.raises(Incomplete, match="labelled twice"):
        fragments.assemble(4, 3, [("a", labels([0, 1], 1), []), ("b", labels([1, 2], 1), [])])


def test_labels_of_another_shard_are_an_error() -> None:
    with pytest.raises(Incomplete, match="not of shard 5"):
        fragments.assemble(5, 2, [("a", labels([0, 1], 1), [])])
