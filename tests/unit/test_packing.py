"""Packing items into jobs."""

from hypothesis import given
from hypothesis import strategies as st

from tilery.packing import MAX_ITEMS, pack
from tilery.workload import Item

items = st.lists(st.floats(0.1, 100), max_size=300).map(
    lambda works: [Item(id=f"i{number:04d}", work=work) for number, work in enumerate(works)]
)


@given(items, st.floats(1, 500))
def test_every_item_is_in_exactly_one_job_and_no_job_is_too_long(given_items: list[Item], target: float) -> None:
    jobs = pack(given_items, target)
    assert sorted(item["id"] for job in jobs for item in job) == [item["id"] for item in given_items]
    assert all(0 < len(job) <= MAX_ITEMS for job in jobs)


@given(items, st.floats(1, 500), st.randoms())
def test_the_order_of_the_items_does_not_matter(given_items: list[Item], target: float, random: object) -> None:
    shuffled = list(given_items)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert pack(shuffled, target) == pack(given_items, target)


@given(items, st.floats(1, 500))
def test_no_job_is_heavier_than_the_target_and_one_item_unless_there_are_too_many(
    given_items: list[Item], target: float
) -> None:
    largest = max((item["work"] for item in given_items), default=0)
    for job in pack(given_items, target, max_items=1000):
        assert sum(item["work"] for item in job) <= target + largest


def test_no_items_make_no_job() -> None:
    assert pack([], 10) == []


def test_a_small_stage_is_spread_over_the_workers_that_there_are() -> None:
    small = [Item(id=f"i{number}", work=10) for number in range(10)]
    assert [len(job) for job in pack(small, 1000, spread=2)] == [5, 5]
    assert len(pack(small, 10_000, spread=8)) == 1
