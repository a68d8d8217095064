"""Options: unknown ones are an error, and the sentence helps."""

import pytest

from tilery.options import from_text, parse
from tilery.outcomes import BadInput
from tilery.workloads.cctv.options import CctvOptions
from tilery.workloads.pointcloud.options import PointCloudOptions


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"resolution": 1}, "unknown option 'resolution': did you mean 'resolution_m'"),
        ({"resolution_m": -1}, "option 'resolution_m': .*greater than or equal to 0.05, got -1"),
        ({"tolerate": 101}, "option 'tolerate'"),
        ({"lane": "moon"}, "option 'lane'"),
        ({"ground": {"slop": 1}}, "unknown option 'ground.slop'"),
    ],
)
def test_a_wrong_option_is_named_with_what_would_be_right(given: dict[str, object], sentence: str) -> None:
    with pytest.raises(BadInput, match="_READY.json: " + sentence):
        parse(PointCloudOptions, given, "_READY.json")


def test_values_are_json_or_plain_text() -> None:
    assert from_text(["a=1", "b=text", 'c={"d": [1]}', "e=true", "f="]) == {
        "a": 1,
        "b": "text",
        "c": {"d": [1]},
        "e": True,
        "f": "",
    }


def test_a_list_of_words_may_be_one_text_with_commas() -> None:
    assert parse(CctvOptions, from_text(["blur=people,plates", "classes=person"]), "--set").blur == ["people", "plates"]
    assert parse(PointCloudOptions, from_text(["products=dtm, dsm"]), "--set").products == ["dtm", "dsm"]
    assert parse(CctvOptions, from_text(["blur="]), "--set").blur == []
    with pytest.raises(BadInput, match=r"option 'blur\.1': input should be 'people' or 'plates', got 'faces'"):
        parse(CctvOptions, from_text(["blur=people,faces"]), "--set")


def test_a_setting_without_a_value_is_refused() -> None:
    with pytest.raises(BadInput, match="write KEY=VALUE"):
        from_text(["lane"])


def test_every_option_is_documented() -> None:
    assert [name for name, field in PointCloudOptions.model_fields.items() if not field.description] == []


def test_a_rule_of_ours_is_told_in_its_own_words() -> None:
    with pytest.raises(BadInput) as refused:
        parse(CctvOptions, {"lines": {"gate": [[1, 1], [1, 1]]}}, "--set")
    assert str(refused.value).startswith("--set: option 'lines': the line 'gate' starts where it ends, got")
