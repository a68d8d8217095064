"""What a person may write as operations, and what a wrong one is answered."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.data import ROOT
from tilery.options import parse
from tilery.outcomes import BadInput
from tilery.workloads.images import operations
from tilery.workloads.images.options import ImagesOptions, schema

GOOD: list[list[Any]] = [
    ["resize", "200x300"],
    ["resize", "50%"],
    ["resize", "200x"],
    ["resize", "x300 fit"],
    ["resize", 200],
    ["resize", {"width": 10, "height": 20, "mode": "fill"}],
    ["split", True],
    ["split", "3x2"],
    ["split", "tile 256"],
    ["blur", "gaussian"],
    ["blur", "box 3"],
    ["blur", 1.5],
    ["crop", "10x10+5+6"],
    ["rotate", 90],
    ["rotate", "-12.5"],
    ["flip", "vertical"],
    ["grayscale", True],
    ["gray", True],
    ["sharpen", 2],
    ["contrast", 1.3],
    ["normalize", True],
    ["convert", "png"],
]
BAD: list[tuple[Any, str]] = [
    (["blurr", "gaussian"], r"operation 1 \(blurr\): there is no such operation; did you mean 'blur'"),
    (["resize", True], r"operation 1 \(resize\): true is not understood; write \"200x300\""),
    (["resize", "0x10"], r"operation 1 \(resize\): width"),
    (["resize", {"width": 1, "percent": 2}], "give width and height, one of them, or percent"),
    (["split", {"cols": 2}], "there is no parameter 'cols'"),
    (["blur", "median 40"], "the radius of median is at most 10, not 40"),
    (["crop", {"width": 3}], "the parameter 'height' is missing"),
    (["contrast", -1], r"operation 1 \(contrast\): factor: input should be greater than or equal to 0, not -1"),
    (["resize", "9" * 5000], r"operation 1 \(resize\): '9+ is not understood"),
    (["resize", {"width": "5"}], "width is a number, not '5'"),
    (["resize", " 200x300"], "is not understood"),
    (["convert", "bmp"], "'bmp' is not understood"),
    ([7, 8], "operation 1: write"),
]


def options(given: Any) -> ImagesOptions:
    return parse(ImagesOptions, {"operations": given}, "_READY.json")


@pytest.mark.parametrize("operation", GOOD, ids=json.dumps)
def test_what_the_schema_allows_is_understood_and_its_canonical_form_means_the_same(operation: list[Any]) -> None:
    Draft202012Validator(schema()).validate({"operations": [operation]})
    canonical = options([operation]).operations
    assert operations.parse(canonical) == operations.parse([operation])
    Draft202012Validator(schema()).validate({"operations": canonical})


@pytest.mark.parametrize(("operation", "said"), BAD, ids=lambda case: json.dumps(case))
def test_a_wrong_operation_is_named_with_the_reason(operation: Any, said: str) -> None:
    with pytest.raises(BadInput, match=f"(?i){said}"):
        options([operation])


FORMS: list[Any] = [True, None, 0, 2, -1, 1.5, 1e3, 1e-5, 361, "", "200x300", "200x300 ", "5x", "50%", "tile 5", "3x2", "box 2"]
FORMS += ["1_0", "100x80+1+2", "-12.5", "Vertical", "rgb", [], {"width": 5}, {"width": 5.0}, {"width": "5"}, {"width": True}]
FORMS += [{"columns": 2}, {"radius": 0}, {"degrees": 4, "background": "#000"}, {"to": "png"}, {"clip": 60}, {"x": 1}]


def test_the_code_accepts_nothing_that_the_schema_refuses() -> None:
    """What the schema cannot say (ranges inside a short text, parameters that exclude each other) the code refuses besides."""
    allowed = Draft202012Validator(schema())
    for name in operations.KINDS:
        for entry in [name, [name], *([name, form] for form in FORMS)]:
            try:
                operations.parse([entry])
            except ValueError:
                continue
            assert allowed.is_valid({"operations": [entry]}), entry


def test_the_number_in_the_error_is_the_place_in_the_list() -> None:
    with pytest.raises(BadInput, match=r"operation 3 \(rotate\)"):
        options([["split", True], "grayscale", ["rotate", "left"]])


def test_the_published_schema_is_the_one_of_the_code() -> None:
    assert json.loads((ROOT / "docs" / "images.schema.json").read_text()) == schema()


def test_workload_and_options_load_no_picture_library() -> None:
    code = (
        "import sys, tilery.workloads.images.workload as w; from tilery.run import Source;"
        "w.Images().size([Source(name='a.jpg', key='k', size=9, version='1')], w.ImagesOptions(), None);"
        "print([m for m in ('numpy', 'pyvips', 'PIL', 'pyarrow') if m in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(ROOT))
    assert told.stdout.strip() == "[]"
