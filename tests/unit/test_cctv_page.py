"""The report of a CCTV run in a real browser: what one clicks on the picture becomes the options of `tilery redo`."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.browser import Tab, browser
from tilery import options as parsing
from tilery.workloads.cctv import marks, plots
from tilery.workloads.cctv.options import CctvOptions
from tilery.workloads.cctv.page import page

SIZE = (640, 360)
SUMMARY: dict[str, Any] = {
    "camera": "bridge <east>",
    "start": "2026-05-04T07:30:00+02:00",
    "midnight_us": 27_000_000_000,
    "start_us": 0,
    "stop_us": 600_000_000,
    "size": list(SIZE),
    "clips": ["a.mp4", "b.mp4"],
    "frames": {"all": 15_000, "detected": 2_000, "still": 1_600, "skipped": 11_390, "damaged": 10},
    "boxes": 9_000,
    "tracked": 8_000,
    "users": {"person": 31, "car": 12},
    "lines": {"line 1": [[100, 100], [300, 200]]},
    "proposed": True,
    "zones": {},
    "bin_s": 60.0,
    "bars": [["line 1", 0.0, "person", "A->B", 3], ["line 1", 120.0, "car", "B->A", 2]],
    "totals": [{"line": "line 1", "way": "A->B", "label": "person", "count": 3}],
    "unseen": [[60_000_000, 120_000_000]],
    "gaps": [["missing", 60_000_000, 120_000_000], ["damaged", 300_000_000, 300_400_000]],
    "speed_unit": "px/s",
    "speeds": [
        {"label": "person", "tracks": 30, "median": 14.0, "p15": 9.0, "p85": 19.5, "sigma": 1.2, "impossible": 0},
    ],
    "max_speed_kmh": 200.0,
    "od": [["north", "", "car", 4]],
    "spots": [],
    "blur": ["people"],
    "stabilised": None,
}
CALLS = {"due": 3_600, "spared": 1_600, "detectors": ["nanodet"]}


def html(**options: Any) -> str:
    record = {
        "run_id": "3f2a99", "dataset": "bridge", "status": "PARTIAL", "missing": ["process/c000-s0001"], "warnings": [],
        "timings": {"stages": {"process": 9.0}, "total_s": 11.0}, "lane": "fargate", "lane_reason": "why", "device": "cpu",
        "device_reason": "asked", "version": "0",
    }  # fmt: skip
    background = marks.png(np.full((SIZE[1] // 2, SIZE[0] // 2, 3), 120, np.uint8))
    return page(record, {**SUMMARY, "zones": options.get("zones", {})}, background, [], [], CALLS, options)


@pytest.fixture(scope="module")
def tab() -> Iterator[Tab]:
    with browser() as found:
        yield found


def shown(tab: Tab, folder: Path, **options: Any) -> None:
    path = folder / "report.html"
    path.write_text(html(**options))
    tab.open(path)
    assert tab.errors == []


def at(tab: Tab, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the frame is in the window."""
    box = tab.js("JSON.parse(JSON.stringify(document.querySelector('[data-drawing] svg').getBoundingClientRect()))")
    return box["x"] + x / SIZE[0] * box["width"], box["y"] + y / SIZE[1] * box["height"]


def choose(tab: Tab, mode: str) -> None:
    tab.js(f"document.querySelector('[data-drawing] input[value={mode}]').click()")


def click(tab: Tab, *points: tuple[float, float]) -> None:
    for point in points:
        tab.press(*at(tab, *point))


def command(tab: Tab) -> str:
    return str(tab.js("document.querySelector('[data-role=text]').value"))


def options_of(text: str) -> CctvOptions:
    """What `tilery redo` makes of the command, as a shell would hand it over."""
    words = shlex.split(text)
    assert words[:3] == ["tilery", "redo", "3f2a99"]
    assert words[3::2] == ["--set"] * len(words[3::2])
    return parsing.parse(CctvOptions, parsing.from_text(words[4::2]), "the command")


def test_a_line_that_is_clicked_becomes_the_option(tab: Tab, tmp_path: Path) -> None:
    shown(tab, tmp_path)
    assert command(tab) == "", "nothing drawn, nothing to copy"
    tab.type("[data-role=name]", "to the bridge")
    click(tab, (320, 180), (500, 90))
    lines = options_of(command(tab)).lines
    assert list(lines) == ["line 1", "to the bridge"]
    assert np.allclose(lines["to the bridge"], [(320, 180), (500, 90)], atol=1)


def test_zones_and_ground_points_become_options_too(tab: Tab, tmp_path: Path) -> None:
    shown(tab, tmp_path)
    choose(tab, "zone")
    click(tab, (40, 40), (200, 40), (200, 160))
    tab.js("document.querySelector('[data-role=close]').click()")
    choose(tab, "ground")
    corners = [(50, 300), (600, 300), (500, 200), (150, 200)]
    click(tab, *corners)
    assert "calibration" not in command(tab), "four points without metres are no calibration yet"
    for number, place in enumerate([("0", "0"), ("12,5", "0"), ("12.5", "30"), ("0", "30")]):
        for which, value in zip(("east", "north"), place, strict=True):
            row = f"[data-role=shapes] tr:nth-child({number + 3}) input[aria-label='m {which}']"
            tab.type(row, value)
    given = options_of(command(tab))
    assert np.allclose(given.zones["zone 1"], [(40, 40), (200, 40), (200, 160)], atol=1)
    assert given.calibration is not None
    assert np.allclose(given.calibration.points, corners, atol=1)
    assert given.calibration.metres == [(0, 0), (12.5, 0), (12.5, 30), (0, 30)]
    assert given.lines == {}, "the proposed lines were not touched and are proposed again"


def test_a_point_is_dragged_a_name_changed_a_shape_removed_and_all_undone(tab: Tab, tmp_path: Path) -> None:
    shown(tab, tmp_path)
    tab.press(*at(tab, 300, 200), to=at(tab, 400, 300))
    assert np.allclose(options_of(command(tab)).lines["line 1"], [(100, 100), (400, 300)], atol=1)
    tab.type("[data-role=shapes] input", "gate'; rm <b>")
    assert list(options_of(command(tab)).lines) == ["gate rm b"], "a name takes only what the option takes"
    tab.js("document.querySelector('[data-role=shapes] button').click()")
    assert options_of(command(tab)).lines == {}
    for _ in range(3):
        tab.js("document.querySelector('[data-role=undo]').click()")
    assert command(tab) == ""


def test_what_was_drawn_before_is_there_to_go_on_with(tab: Tab, tmp_path: Path) -> None:
    calibration = {
        "points": [[0, 0], [9, 0], [9, 9], [0, 9]],
        "metres": [[0, 0], [1, 0], [1, 1], [0, 1]],
        "origin": [9.1, 45.2],
    }
    shown(tab, tmp_path, zones={"yard": [[1, 1], [50, 1], [50, 50]]}, calibration=calibration)
    assert command(tab) == ""
    tab.type("[data-role=shapes] tr:nth-child(3) input", "2.5")
    given = options_of(command(tab)).calibration
    assert given is not None
    assert given.metres[0] == (2.5, 0)
    assert given.origin == (9.1, 45.2)


def test_the_button_copies_the_command(tab: Tab, tmp_path: Path) -> None:
    shown(tab, tmp_path)
    click(tab, (20, 20), (60, 300))
    tab.grant("clipboardReadWrite", "clipboardSanitizedWrite")
    tab.js("document.querySelector('[data-role=copy]').click()")
    assert tab.js("new Promise(done => setTimeout(() => done(document.querySelector('[data-role=copied]').textContent), 100))")
    assert tab.js("navigator.clipboard.readText()") == command(tab) != ""


def test_a_missing_minute_is_hatched_and_has_no_bar() -> None:
    text = html()
    assert 'data-missing="60-120"' in text
    assert "missing: 7:31:00 to 7:32:00" in text, "times are those of the camera's clock"
    gap = re.search(r'data-missing="60-120" x="([\d.]+)" y="0" width="([\d.]+)"', text)
    assert gap is not None
    left, width = float(gap[1]), float(gap[2])
    bars = [(float(x), float(w)) for x, w in re.findall(r'<rect x="([\d.]+)" width="([\d.]+)" y=', text)]
    assert len(bars) == 2
    assert all(x + w <= left + 0.5 or x >= left + width - 0.5 for x, w in bars)
    assert "bridge &lt;east&gt;" in text
    assert "<east>" not in text
    assert "median (px/s)" in text
    assert "median (km/h)" not in text, "without a calibration"


def test_the_same_summary_gives_the_same_page() -> None:
    assert html() == html()


def test_many_bins_are_joined_and_none_is_lost() -> None:
    bars = [plots.Bar(60.0 * minute, "car", "A->B", 1) for minute in range(2 * 24 * 60)]
    text = plots.counts(bars, plots.Axis(0, 2 * 86_400), 60, [], plots.colours(["car"]), ("A->B", "B->A"))
    counted = [int(one) for one in re.findall(r": (\d+) car, A-&gt;B", text)]
    assert sum(counted) == len(bars)
    assert len(counted) <= plots.MOST_BARS


def test_the_state_of_the_page_is_data_and_never_code() -> None:
    state = re.search(r'data-drawing="([^"]*)"', html(zones={"a b": [[0, 0], [1, 0], [1, 1]]}))
    assert state is not None
    assert json.loads(state[1].replace("&quot;", '"'))["zones"] == {"a b": [[0, 0], [1, 0], [1, 1]]}
