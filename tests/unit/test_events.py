"""Each case cites the sentence of the EventBridge user guide that it checks ("Comparison operators for use in event
patterns" unless another page is named)."""

import json

import pytest

from twin.events import UnsupportedPattern, drop_pattern, matches, object_created


def field(choices: list[object], value: object) -> bool:
    return matches({"detail": {"x": choices}}, {"detail": {"x": value}})


@pytest.mark.parametrize(
    ("sentence", "choices", "value", "expected"),
    [
        ("Equals: Name is 'Alice'", ["Alice"], "Alice", True),
        ("exact matching (character-by-character) without case-folding", ["Alice"], "alice", False),
        ("Or: PaymentType is 'Credit' or 'Debit'", ["Credit", "Debit"], "Debit", True),
        ("Null: UserID is null", [None], None, True),
        ("Empty: LastName is empty", [""], "", True),
        ("numbers use the string representation: 300, 300.0 are not considered equal", [300], 300.0, False),
        ("true is no number", [1], True, False),
        ("Begins with: Region is in the US", [{"prefix": "us-"}], "us-east-1", True),
        ("Begins with: Region is in the US", [{"prefix": "us-"}], "eu-us-1", False),
        ("Begins with (ignore case)", [{"prefix": {"equals-ignore-case": "EventB"}}], "eventbridge", True),
        ("Ends with: FileName ends with a .png extension", [{"suffix": ".png"}], "a.png", True),
        ("Ends with: FileName ends with a .png extension", [{"suffix": ".png"}], "a.png.gz", False),
        ("Ends with (ignore case)", [{"suffix": {"equals-ignore-case": ".png"}}], "A.PNG", True),
        ("Equals (ignore case): Name is 'Alice'", [{"equals-ignore-case": "alice"}], "ALICE", True),
        ("Wildcard: any files located within the specified folder", [{"wildcard": "dir/*.png"}], "dir/a/b.png", True),
        ("Wildcard: any files located within the specified folder", [{"wildcard": "dir/*.png"}], "dir2/b.png", False),
        ("an asterisk stands for zero characters too", [{"wildcard": "a*b"}], "ab", True),
        ("use the backslash to match a literal *", [{"wildcard": "a\\*b"}], "a*b", True),
        ("use the backslash to match a literal *", [{"wildcard": "a\\*b"}], "axb", False),
        ("a dot is only a dot", [{"wildcard": "*.laz"}], "xlaz", False),
        ("Not: Weather is anything but 'Raining'", [{"anything-but": ["Raining"]}], "Sunny", True),
        ("Not: Weather is anything but 'Raining'", [{"anything-but": ["Raining"]}], "Raining", False),
        ("Not: a single value", [{"anything-but": 5}], 5, False),
        ("Not (begins with)", [{"anything-but": {"prefix": "us-"}}], "us-east-1", False),
        ("Not (begins with), list", [{"anything-but": {"prefix": ["us-", "eu-"]}}], "eu-west-1", False),
        ("Not (begins with), list", [{"anything-but": {"prefix": ["us-", "eu-"]}}], "ap-east-1", True),
        ("Not (ends with)", [{"anything-but": {"suffix": ".txt"}}], "a.txt", False),
        ("Not (wildcard)", [{"anything-but": {"wildcard": "*/lib/*"}}], "src/lib/a", False),
        ("Not (wildcard), list", [{"anything-but": {"wildcard": ["*/lib/*", "*/bin/*"]}}], "src/etc/a", True),
        ("Not (ignore case)", [{"anything-but": {"equals-ignore-case": ["initializing"]}}], "INITIALIZING", False),
        ("Numeric (equals): Price is 100", [{"numeric": ["=", 100]}], 100, True),
        ("Numeric (range): Price is more than 10, and less than or equal to 20", [{"numeric": [">", 10, "<=", 20]}], 20, True),
        ("Numeric (range): Price is more than 10, and less than or equal to 20", [{"numeric": [">", 10, "<=", 20]}], 10, False),
        ("Numeric works on numbers, not on texts", [{"numeric": ["=", 100]}], "100", False),
        ("IP address matching", [{"cidr": "10.0.0.0/24"}], "10.0.0.255", True),
        ("IP address matching", [{"cidr": "10.0.0.0/24"}], "10.0.1.0", False),
        ("Arrays: matches if the intersection of the pattern array and the event array is non-empty", ["b"], ["a", "b"], True),
        ("Arrays: matches if the intersection of the pattern array and the event array is non-empty", ["c"], ["a", "b"], False),
        ("Exists: ProductName exists", [{"exists": True}], "x", True),
        ("Does not exist: ProductName does not exist", [{"exists": False}], "x", False),
        ("Exists only works on leaf nodes, not on intermediate nodes", [{"exists": True}], {"deep": 1}, False),
    ],
)
def test_a_comparison_does_what_the_guide_says(sentence: str, choices: list[object], value: object, expected: bool) -> None:
    assert field(choices, value) is expected, sentence


def test_a_field_that_is_absent_matches_only_exists_false() -> None:
    assert matches({"detail": {"x": [{"exists": False}]}}, {"detail": {}})
    assert matches({"detail": {"x": {"y": [{"exists": False}]}}}, {})
    assert not matches({"detail": {"x": [{"anything-but": "a"}]}}, {"detail": {}})
    assert not matches({"detail": {"x": [None]}}, {"detail": {}})


def test_and_means_that_every_field_of_the_pattern_matches() -> None:
    pattern = {"source": ["a"], "detail": {"x": [1], "y": [2]}}
    assert matches(pattern, {"source": "a", "detail": {"x": 1, "y": 2, "z": 3}})
    assert not matches(pattern, {"source": "a", "detail": {"x": 1, "y": 3}})


def test_or_holds_when_one_of_its_patterns_does() -> None:
    pattern = {"$or": [{"x": [1]}, {"y": [{"numeric": [">", 5]}]}]}
    assert matches(pattern, {"x": 0, "y": 6})
    assert not matches(pattern, {"x": 0, "y": 5})


@pytest.mark.parametrize(
    "choice", [{"regex": "a"}, {"prefix": "a", "suffix": "b"}, {"wildcard": "a**b"}, {"anything-but": {"cidr": "::/0"}}]
)
def test_a_pattern_that_eventbridge_refuses_is_refused(choice: dict[str, object]) -> None:
    with pytest.raises(UnsupportedPattern):
        field([choice], "a")


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("drop/acme/pointcloud/site.laz", True),
        ("drop/acme/pointcloud/set/_READY.json", True),
        ("drop/acme/pointcloud/set/part.laz", False),
        ("drop/acme/pointcloud/set/sub/part.laz", False),
        ("drop/acme/pointcloud/set/sub/_READY.json", True),
    ],
)
def test_the_deployed_rule_lets_through_only_drop_shaped_keys(key: str, expected: bool) -> None:
    """The last is a shape that a wildcard cannot exclude (`*` spans slashes): intake looks again."""
    event = object_created("drop", key, size=1, etag="e", version="v")
    assert matches(drop_pattern("drop"), event) is expected
    assert not matches(drop_pattern("other"), event)


def test_the_object_created_event_is_json_with_the_fields_that_intake_reads() -> None:
    event = json.loads(json.dumps(object_created("drop", "drop/a/b/ü c.laz", size=7, etag="e", version="v")))
    assert event["source"] == "aws.s3"
    assert event["detail-type"] == "Object Created"
    assert event["detail"]["bucket"] == {"name": "drop"}
    assert {name: event["detail"]["object"][name] for name in ("key", "size", "etag", "version-id")} == {
        "key": "drop/a/b/ü c.laz",
        "size": 7,
        "etag": "e",
        "version-id": "v",
    }
