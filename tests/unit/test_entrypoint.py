"""The container's entry point: exit codes, the written error, and what SIGTERM does."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from containers import entrypoint
from containers.entrypoint import STOPPED, Stop, describe, error_key, exit_code
from tilery.outcomes import BadInput, Incomplete, Outcome, OutOfMemory, Transient

ROOT = Path(__file__).resolve().parents[2]
RUN = "f" * 64
JOB = f"work/acme/runs/{RUN}/jobs/process-0003.jsonl"


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (BadInput("the file is cut off"), 2),
        (OutOfMemory("too big"), 42),
        (MemoryError(), 42),
        (Transient("again"), 75),
        (Incomplete("some"), 1),
        (Outcome("a tile failed"), 1),
        (ZeroDivisionError("ours"), 1),
    ],
)
def test_each_failure_has_its_exit_code(failure: Exception, code: int) -> None:
    assert exit_code(failure, stopped=False) == code
    assert exit_code(failure, stopped=True) == STOPPED == 143


def test_a_known_failure_is_a_sentence_and_a_fault_of_ours_has_its_traceback() -> None:
    assert describe(BadInput("the file is cut off"), 2)["sentence"] == "the file is cut off"
    assert describe(BadInput("the file is cut off"), 2)["traceback"] == ""
    assert "KeyError" in describe(KeyError("x"), 1)["traceback"]


def test_the_error_is_kept_below_the_run_under_the_jobs_name() -> None:
    assert error_key("acme", RUN, JOB) == f"work/acme/runs/{RUN}/errors/process-0003.json"


def test_wrong_arguments_are_bad_input(capsys: pytest.CaptureFixture[str]) -> None:
    assert entrypoint.main(["acme"]) == 2
    assert "usage" in capsys.readouterr().err


def test_a_job_of_an_unknown_run_fails_and_says_so_in_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TILERY_STORE", tmp_path.as_uri())
    ran = subprocess.run(
        [sys.executable, "-m", "containers.entrypoint", "acme", RUN, "process", JOB], cwd=ROOT, capture_output=True, text=True
    )
    written = json.loads((tmp_path / error_key("acme", RUN, JOB)).read_text())
    assert ran.returncode == written["exit_code"] != 0
    assert written["sentence"]
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    assert written["sentence"] in str(lines[-1]["message"])
    assert {(line["run_id"], line["tenant"]) for line in lines} == {(RUN, "acme")}, "`tilery logs` looks for the run's id"


ITEM = """
import time
from containers.entrypoint import Stop
stop = Stop(grace_s={grace_s})
stop.listen()
print("ready", flush=True)
until = time.monotonic() + {item_s}
while time.monotonic() < until:
    time.sleep(0.01)
raise SystemExit(7 if stop() else 0)
"""


@pytest.mark.parametrize(("item_s", "code"), [(0.3, 7), (30.0, STOPPED)], ids=["the item ends in time", "it is abandoned"])
def test_sigterm_lets_the_item_end_or_abandons_it_after_the_grace(item_s: float, code: int) -> None:
    program = ITEM.format(grace_s=1.5, item_s=item_s)
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == code
        assert time.monotonic() - begun < 10


def test_nothing_is_stopped_before_it_is_asked() -> None:
    assert Stop()() is False
