"""A picture that crashes or hangs its decoder costs one row, not the batch."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tilery.workloads.images.crew import Hand
from tilery.workloads.images.options import ImagesOptions

CHILD = """
import json, os, signal, sys, time
sys.stdin.readline()
for line in sys.stdin:
    name = json.loads(line)["name"]
    if name == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "starve":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "hang":
        time.sleep(60)
    print(json.dumps({"status": "ok", "reason": name, "pieces": [], "long": "x" * 300_000}), flush=True)
"""


@pytest.fixture
def hand(tmp_path: Path) -> Hand:
    (tmp_path / "made").mkdir()
    return Hand(ImagesOptions(timeout_s=1), tmp_path, (sys.executable, "-c", CHILD))


def ask(hand: Hand, tmp_path: Path, name: str) -> tuple[str, str]:
    row = hand.make(tmp_path / "x", name, tmp_path / "made")
    return row.get("code", ""), row["reason"]


def test_after_a_crash_the_next_picture_gets_a_new_child(hand: Hand, tmp_path: Path) -> None:
    (tmp_path / "made" / "half.jpg").write_bytes(b"half a piece")
    with hand:
        assert ask(hand, tmp_path, "crash") == ("crashed", "it crashes the decoder (SIGSEGV); it is damaged or hostile")
        assert not list((tmp_path / "made").iterdir())
        assert ask(hand, tmp_path, "fine") == ("", "fine")
        assert "lack of memory" in ask(hand, tmp_path, "starve")[1]


def test_a_picture_that_takes_too_long_is_given_up(hand: Hand, tmp_path: Path) -> None:
    begun = time.monotonic()
    with hand:
        assert ask(hand, tmp_path, "hang") == ("timeout", "it took longer than 1 s")
        assert ask(hand, tmp_path, "fine") == ("", "fine")
    assert time.monotonic() - begun < 20


def test_a_child_ends_with_its_input(tmp_path: Path) -> None:
    with Hand(ImagesOptions(), tmp_path) as hand:
        (tmp_path / "x").write_bytes(b"no picture")
        (tmp_path / "made").mkdir()
        assert ask(hand, tmp_path, "x") == ("not_a_picture", "it is not a picture of a format that is known")
        process = hand._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(10) == 0
