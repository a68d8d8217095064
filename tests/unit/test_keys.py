"""Keys: built in one place, hostile until checked."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tilery import keys


@pytest.mark.parametrize(
    ("key", "dataset", "file"),
    [
        ("drop/acme/pointcloud/site.laz", "site.laz", "site.laz"),
        ("drop/acme/pointcloud/Grüne Straße 1.laz", "Grüne Straße 1.laz", "Grüne Straße 1.laz"),
        ("drop/acme/pointcloud/survey/_READY.json", "survey", ""),
    ],
)
def test_the_two_shapes_of_a_drop_are_read(key: str, dataset: str, file: str) -> None:
    drop = keys.parse_drop(key)
    assert (drop.tenant, drop.workload, drop.dataset, drop.file) == ("acme", "pointcloud", dataset, file)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("drop/acme/pointcloud/", "empty part"),
        ("drop/acme/pointcloud/../other/x.laz", "'..'"),
        ("drop/acme//x.laz", "empty part"),
        ("drop/acme/x.laz", "not below drop/TENANT/WORKLOAD/"),
        ("results/acme/pointcloud/x.laz", "not below drop/TENANT/WORKLOAD/"),
        ("drop/ACME/pointcloud/x.laz", "the tenant 'ACME'"),
        ("drop/acme/point-cloud/x.laz", "not the name of a workload"),
        ("drop/acme/pointcloud/survey/x.laz", "the run starts when _READY.json lands"),
        ("drop/acme/pointcloud/a/b/_READY.json", "the run starts when"),
        ("drop/acme/pointcloud/_READY.json", "belongs inside a dataset folder"),
        ("drop/acme/pointcloud/x\n.laz", "control character"),
        ("drop/acme/pointcloud/x\\y.laz", "backslash"),
        ("drop/acme/pointcloud/" + "x" * 1100, "longer than 1,024 bytes"),
    ],
)
def test_any_other_key_is_refused_with_the_reason(key: str, why: str) -> None:
    with pytest.raises(keys.BadKey, match=why.replace(".", r"\.").replace("(", r"\(")):
        keys.parse_drop(key)


def test_the_same_upload_always_has_the_same_run_id_and_another_version_another() -> None:
    assert keys.run_id("b", "k", "v1") == keys.run_id("b", "k", "v1")
    assert len({keys.run_id("b", "k", "v1"), keys.run_id("b", "k", "v2"), keys.run_id("b", "kv1", "")}) == 3


def test_no_part_can_leave_its_folder() -> None:
    with pytest.raises(keys.BadKey):
        keys.result("acme", "pointcloud", "..", "run.json")


@given(st.text("\\x0a\nü\ud800"), st.text("\\x0a\nü\ud800"))
def test_a_name_that_is_shown_with_escapes_is_no_other_name(one: str, other: str) -> None:
    assert (keys.plain(one) == keys.plain(other)) == (one == other)
    json.dumps(keys.plain(one), ensure_ascii=False).encode()
