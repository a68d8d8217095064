"""Names of results never collide."""

from __future__ import annotations

from unicodedata import normalize

from hypothesis import given
from hypothesis import strategies as st

from tilery.workloads.images.naming import stems

PARTS = st.sampled_from(
    ["a", "A", "a.jpg", "a.png", "a-png", "a-jpg", "a__1-2", "b", "a.b", "ä", "a\u0308", "x" * 300, "a:b", "a?b", " ", ".jpg"]
)
NAMES = st.lists(st.lists(PARTS, min_size=1, max_size=3).map("/".join), min_size=1, max_size=12, unique=True)


@given(NAMES)
def test_every_source_has_a_name_of_its_own_on_every_disk(names: list[str]) -> None:
    results = [normalize("NFC", f"{stem}.jpg").lower() for stem in stems(names, "jpg")]
    assert len(set(results)) == len(names)
    assert all(len(part.encode()) <= 255 for result in results for part in result.split("/")[-1:])


@given(NAMES)
def test_the_names_do_not_depend_on_the_order_of_the_sources(names: list[str]) -> None:
    forward, backward = stems(names, "jpg"), stems(names[::-1], "jpg")
    assert forward == backward[::-1]


def test_a_name_that_is_free_is_kept() -> None:
    assert stems(["north/a.jpg", "south/a.jpg", "b.png"], "jpg") == ["north/a", "south/a", "b"]


def test_equal_stems_get_their_suffix_and_equal_letters_a_hash() -> None:
    assert stems(["a.jpg", "a.png"], "jpg") == ["a-jpg", "a-png"]
    upper, lower = stems(["A.jpg", "a.jpg"], "jpg")
    assert upper.lower() != lower.lower()
    composed, apart = stems(["ä.jpg", "a\u0308.jpg"], "jpg")
    assert normalize("NFC", composed) != normalize("NFC", apart)


def test_a_source_that_is_named_like_a_piece_is_renamed() -> None:
    assert stems(["a.jpg", "a__1-2.jpg"], "jpg")[1].startswith("a__1-2-x")


def test_a_result_never_has_the_name_of_a_folder() -> None:
    assert stems(["a.png", "a.jpg/b.png"], "jpg") == ["a-png", "a.jpg/b"]
