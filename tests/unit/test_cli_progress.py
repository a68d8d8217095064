"""Progress: one line per change in a log, bars in a terminal."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from cli import logs
from cli.logs import entry, readable
from cli.progress import Display, Step
from tilery.outcomes import Transient


class Clock:
    """A clock that moves by one second each time it is read."""

    def __init__(self) -> None:
        self.now = -1.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


def log(steps: list[Step]) -> list[str]:
    text = io.StringIO()
    with Display(Console(file=text, force_terminal=False, width=200), clock=Clock()) as display:
        for step in steps:
            display.show(step)
    return text.getvalue().splitlines()


def test_a_log_has_a_line_for_each_change_and_none_between() -> None:
    size, plan = Step("Size the drop", "RUNNING"), Step("Plan the next stage", "RUNNING")

    assert log([size, size, size, plan, plan, Step("Plan the next stage", "SUCCEEDED")]) == [
        "00:01 reading headers",
        "00:02 planning",
        "00:03 succeeded",
    ]


def test_a_long_stage_speaks_every_tenth_in_a_log() -> None:
    lines = log([Step("Process tiles", "RUNNING", "process", done, 1000) for done in range(1001)])

    assert len(lines) == 11
    assert lines[0] == "00:01 processing tiles 0/1000"
    assert lines[-1].endswith("processing tiles 1000/1000")


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED"])
def test_the_end_is_said_in_plain_words(status: str) -> None:
    assert log([Step("Process tiles", status)])[-1].endswith(status.lower().replace("_", " "))


def test_a_terminal_shows_a_bar_per_stage() -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=120)
    with Display(console) as display:
        display.note("sums: set, 1 file, 6 B")
        display.show(Step("Cut tiles", "RUNNING", "tile", 1, 4))
        display.show(Step("Process tiles", "RUNNING", "process", 7, 20))
        display.show(Step("Process tiles", "SUCCEEDED"))

    assert "sums: set" in text.getvalue()
    assert "4/4" in text.getvalue()
    assert "20/20" in text.getvalue()


def test_the_bar_of_a_stage_that_failed_stays_where_it_was() -> None:
    text = io.StringIO()
    with Display(Console(file=text, force_terminal=True, width=120)) as display:
        display.show(Step("Process tiles", "RUNNING", "process", 7, 20))
        display.show(Step("Process tiles", "FAILED", "process", 7, 20))

    assert "7/20" in text.getvalue()
    assert "20/20" not in text.getvalue()


def test_a_search_for_logs_that_fails_does_not_look_like_a_run_without_any() -> None:
    class Logs:
        def __init__(self, status: str) -> None:
            self.status = status

        def get_query_results(self, queryId: str) -> dict[str, Any]:
            return {"status": self.status, "results": []}

    assert logs._results(Logs("Complete"), "q") == []
    with pytest.raises(Transient, match=r"did not find the lines of this run \(timeout\)"):
        logs._results(Logs("Timeout"), "q")


def test_a_structured_log_line_reads_well() -> None:
    at = "2026-11-21 05:00:00,123+0000"
    line = json.dumps({"level": "ERROR", "message": "BadInput: site.laz is cut short", "timestamp": at, "service": "size"})
    shown = readable(entry("size-pointcloud", line))

    assert shown.endswith("size-pointcloud ERROR: BadInput: site.laz is cut short")


@pytest.mark.parametrize("text", ["plain words", "{not json", "[1, 2]", '{"no": "message"}'])
def test_any_other_log_line_is_shown_as_it_is(text: str) -> None:
    assert readable(entry("process-0001", text)) == f"process-0001: {text}"
