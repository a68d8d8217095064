"""A picture that crashes or hangs its decoder costs one row, not the batch."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tilery.workloads.images import messages
from tilery.workloads.images.crew import Crew, Hand
from tilery.workloads.images.options import ImagesOptions

CHILD = """
import os, signal, time
from tilery.workloads.images import child, picture

def make(path, name, folder, options, data, alone):
    if name == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if name == "starve":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "hang":
        time.sleep(60)
    if name.startswith("large"):
        alone()
        time.sleep(0.1)
    row = {"status": "ok", "reason": name, "pieces": []}
    return picture.Made(row, {"a.jpg": b"a" * 3_000_000, "b.jpg": data or b""})

picture.make = make
child.main()
"""


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    crew = Crew((sys.executable, "-c", CHILD))
    yield crew
    crew.close()


@pytest.fixture
def hand(tmp_path: Path, crew: Crew) -> Hand:
    (tmp_path / "made").mkdir()
    return Hand(ImagesOptions(timeout_s=1), tmp_path, threading.Lock(), crew)


def ask(hand: Hand, tmp_path: Path, name: str) -> tuple[str, str]:
    row, _ = hand.make(tmp_path / "x", name, tmp_path / "made")
    return row.get("code", ""), row["reason"]


def test_after_a_crash_the_next_picture_gets_a_new_child(hand: Hand, tmp_path: Path) -> None:
    (tmp_path / "made" / "half.jpg").write_bytes(b"half a piece")
    with hand:
        assert ask(hand, tmp_path, "crash") == ("crashed", "it crashes the decoder (SIGSEGV); it is damaged or hostile")
        assert not (tmp_path / "made").exists()
        assert ask(hand, tmp_path, "fine") == ("", "fine")
        assert "lack of memory" in ask(hand, tmp_path, "starve")[1]


def test_pictures_and_pieces_of_any_size_pass_to_and_fro(hand: Hand, tmp_path: Path) -> None:
    with hand:
        for data in (b"", b"x", b"y" * 2_000_000):
            _, pieces = hand.make(tmp_path / "x", "fine", tmp_path / "made", data)
            assert pieces == {"a.jpg": b"a" * 3_000_000, "b.jpg": data}


def test_when_the_process_that_forks_children_was_killed_another_takes_its_place(hand: Hand, tmp_path: Path) -> None:
    with hand:
        assert ask(hand, tmp_path, "fine") == ("", "fine")
        process = hand._crew._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        assert ask(hand, tmp_path, "crash")[0] == "crashed"
        assert ask(hand, tmp_path, "fine") == ("", "fine")


def test_large_pictures_are_decoded_one_at_a_time(tmp_path: Path, crew: Crew) -> None:
    class Watched:
        """A lock that knows how many hold it."""

        def __init__(self) -> None:
            self.lock, self.held = threading.Lock(), 0

        def __enter__(self) -> None:
            self.lock.acquire()
            self.held += 1

        def __exit__(self, *_: object) -> None:
            self.lock.release()

    large = Watched()
    with ThreadPoolExecutor(3) as pool:
        hands = [Hand(ImagesOptions(), tmp_path, large, crew) for _ in range(3)]  # type: ignore[arg-type]
        begun = time.monotonic()
        rows = list(pool.map(lambda hand: hand.make(tmp_path / "x", "large", tmp_path / "made")[0], hands))
    for hand in hands:
        hand.__exit__(None, None, None)
    assert [row["status"] for row in rows] == ["ok"] * 3
    assert large.held == 3
    assert time.monotonic() - begun > 0.3


def test_a_picture_that_takes_too_long_is_given_up(hand: Hand, tmp_path: Path) -> None:
    begun = time.monotonic()
    with hand:
        assert ask(hand, tmp_path, "hang") == ("timeout", "it took longer than 1 s")
        assert ask(hand, tmp_path, "fine") == ("", "fine")
    assert time.monotonic() - begun < 20


def test_children_end_with_the_worker_whatever_they_do(tmp_path: Path, crew: Crew) -> None:
    number, ours = crew.fork()
    own = Crew((sys.executable, "-c", CHILD))
    hanging, talk = own.fork()
    messages.send(talk, {"options": ImagesOptions().model_dump(mode="json"), "scratch": str(tmp_path)})
    messages.send(talk, {"path": "x", "name": "hang", "folder": "x"})
    assert own._control is not None
    assert own._process is not None
    own._control.close()
    assert own._process.wait(10) == 0
    assert not Path(f"/proc/{hanging}").exists()
    ours.close()
    until = time.monotonic() + 10
    while Path(f"/proc/{number}/cmdline").read_bytes() and time.monotonic() < until:
        time.sleep(0.01)
    assert crew.end(number) == 0


def test_the_real_child_says_what_is_no_picture(tmp_path: Path) -> None:
    own = Crew()
    with Hand(ImagesOptions(), tmp_path, threading.Lock(), own) as hand:
        row, pieces = hand.make(tmp_path / "x", "x", tmp_path / "made", b"no picture")
    own.close()
    assert (row["code"], row["reason"]) == ("not_a_picture", "it is not a picture of a format that is known")
    assert not pieces
