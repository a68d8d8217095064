"""Names, expressions, options and the plan: what a trend run understands before it reads a pixel."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tilery.options import parse
from tilery.outcomes import BadInput
from tilery.run import Source
from tilery.store.directory import DirectoryStore
from tilery.workloads.trend import expression, headers, names, plan
from tilery.workloads.trend.options import TrendOptions


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("TERRA_MODIS_012010_NDVI_2013-09-14.jp2", date(2013, 9, 14)),
        ("LT50350322000296XXX02_stack.gtif", date(2000, 10, 22)),
        ("LE70350321999366EDC00_stack.gtif", date(2000, 1, 1)),
        ("LC08_L2SP_035032_20200101_20200823_02_T1_SR_B4.TIF", date(2020, 1, 1)),
        ("S2A_MSIL2A_20150711T100008_N0204_R122_T33TVM.tif", date(2015, 7, 11)),
        ("T33TVM_20150711T100008_B04_10m.jp2", date(2015, 7, 11)),
        ("MOD13Q1.A2013257.h13v10.006.tif", date(2013, 9, 14)),
        ("site/2019_05_06.tif", date(2019, 5, 6)),
        ("20190506.tif", date(2019, 5, 6)),
        ("picture_12345678.tif", None),
        ("area_99999999_of_1234567890.tif", None),
        ("field.tif", None),
    ],
)
def test_the_date_is_found_in_the_usual_names(name: str, day: date | None) -> None:
    assert names.guess(name) == day


def test_a_template_tells_date_and_band() -> None:
    named = names.Template("S2_{YYYY}{MM}{DD}_{band}.tif").read("a/S2_20200229_B04.tif")
    assert named is not None
    assert (named.day, named.band, named.rest) == (date(2020, 2, 29), "B04", "a/S2_20200229_.tif")
    assert names.Template("S2_{YYYY}{MM}{DD}_{band}.tif").read("S2_20210229_B04.tif") is None


@pytest.mark.parametrize("text", ["{YYYY}.tif", "{YYYY}{MM}{DD}{hour}", "{YYYY}{YYYY}{DOY}", "*******{YYYY}{DOY}", "(a+)+$"])
def test_a_template_that_cannot_work_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="pattern"):
        parse(TrendOptions, {"pattern": text}, "--set")


def test_a_template_answers_at_once_whatever_the_name() -> None:
    assert names.Template("*a*a*a*a*a*{YYYY}{DOY}").read("a" * 255) is None


def test_an_index_by_name_is_its_formula() -> None:
    bands = {"nir": np.array([0.5, 0.2]), "red": np.array([0.1, 0.2])}
    assert expression.evaluate("ndvi", bands) == pytest.approx([0.4 / 0.6, 0])
    assert expression.names("EVI") == ["blue", "nir", "red"]
    assert expression.evaluate("-max(b1, 2) ** 2 + abs(b2)", {"b1": 3.0, "b2": -1.0}) == -8


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')", "b1.__class__", "[b1 for b1 in (1,)]", "b1 if b2 else 3", "lambda: 1",
        "b1; b2", "'a'", "open(b1)", "b1 ** b2", "2 ** 99", "b1 == 2", "b1[0]", "max(b1)", "sqrt(x=b1)", "True", "_b1",
        "(" * 90 + "b1" + ")" * 90 + "+", "-" * 300 + "b1", "b1 @ b2", "1j * b1", "f'{b1}'", "(b1 := 2)", "*b1",
    ],
)  # fmt: skip
def test_nothing_but_arithmetic_is_an_expression(text: str) -> None:
    with pytest.raises(BadInput, match="the expression"):
        expression.parse(text)


def test_options_say_what_is_wrong_with_them() -> None:
    with pytest.raises(BadInput, match="window 300 must be a multiple of block 256"):
        parse(TrendOptions, {"window": 300}, "--set")
    with pytest.raises(BadInput, match="give a preset, or one of keep, drop and bits"):
        parse(TrendOptions, {"mask": {"band": 2}}, "--set")
    with pytest.raises(BadInput, match="end 2019-01-01 is before start 2020-01-01"):
        parse(TrendOptions, {"start": "2020-01-01", "end": "2019-01-01"}, "--set")
    with pytest.raises(BadInput, match="did you mean 'harmonics'"):
        parse(TrendOptions, {"harmonic": 1}, "--set")


def test_the_workload_is_listed_without_loading_anything_heavy() -> None:
    code = (
        "import sys; import tilery.workloads.trend.workload, tilery.workloads.trend.plan; "
        "print([name for name in ('numpy', 'numba', 'rasterio', 'scipy', 'PIL') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_two_terabytes_in_two_hours_and_in_two_minutes() -> None:
    made = plan.plan(plan.read_bytes("2TB"))
    hours, minutes = made.lines
    rate = plan.rates()["compressed_gb_per_vcpu_s"]
    assert hours.seconds <= 7200
    assert minutes.seconds <= 120
    assert hours.gb_per_s <= hours.vcpus * rate * 1.0001
    assert minutes.gb_per_s >= 2000 / 60
    assert minutes.vcpus > 50 * hours.vcpus
    assert minutes.dollars < 2 * hours.dollars
    assert "2 TB" in made.text()


def test_a_plan_never_promises_what_the_start_alone_takes() -> None:
    line = plan.plan(1e9, [30]).lines[0]
    assert not line.reached
    assert "not reached" in plan.plan(1e9, [30]).text()


def test_twice_the_data_takes_twice_the_work() -> None:
    one, two = (plan.plan(amount, [120]).lines[0] for amount in (1e12, 2e12))
    assert two.workers == pytest.approx(2 * one.workers, abs=1)


@pytest.mark.parametrize(("text", "count"), [("2TB", 2e12), ("1 GiB", 2**30), ("1.5e12", 1.5e12), ("12", 12)])
def test_amounts_are_read_as_people_write_them(text: str, count: float) -> None:
    assert plan.read_bytes(text) == count


@pytest.mark.parametrize("text", ["", "TB", "2 apples", "-2TB", "1e"])
def test_an_amount_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match="not an amount"):
        plan.read_bytes(text)


@pytest.mark.parametrize("bands", ["red", ["red"], {"name": "red"}, [["red"]], [None], 4, [], None])
def test_bands_of_a_stac_item_that_are_no_bands_say_nothing(tmp_path: Path, bands: Any) -> None:
    asset = {"href": "a.tif", "eo:bands": bands, "raster:bands": bands, "bands": bands, "raster:scale": 0.5}
    item = {"id": "one", "properties": {"datetime": "2020-01-02T00:00:00Z"}, "assets": {"data": asset}}
    store = DirectoryStore(tmp_path)
    store.put("drop/a/trend/s/item.json", json.dumps(item).encode())
    source = Source(
        name="item.json", key="drop/a/trend/s/item.json", size=1, version=store.head("drop/a/trend/s/item.json").version
    )
    found = headers.asset_of(headers.read_items(store, [source]), "a.tif")
    assert found == headers.Asset("one", date(2020, 1, 2), "data", (0.5, 0.0))
