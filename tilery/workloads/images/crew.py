"""Keeps children at work: starts them, asks them, replaces one that crashes or takes too long."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

import tilery
from tilery.workloads.images import messages
from tilery.workloads.images.child import NUMBER
from tilery.workloads.images.options import ImagesOptions

CODE = str(Path(tilery.__file__).parent.parent)
COMMAND = (sys.executable, "-m", "tilery.workloads.images.child")
ENVIRONMENT = {
    "VIPS_CONCURRENCY": "1",
    # numpy must not start threads in a process that forks
    "OPENBLAS_NUM_THREADS": "1",
    # Freed pixels go back to one arena, and small pictures are not mapped and unmapped one by one (15 % of the time).
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "33554432",
}


class Crew:
    """The process that forks hands (`child`): to load the libraries takes a quarter of a CPU-second, once. For many threads."""

    def __init__(self, command: tuple[str, ...] = COMMAND) -> None:
        self._command = command
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def fork(self) -> tuple[int, socket.socket]:
        """A new hand: its process and the socket to talk with it."""
        with self._lock:
            try:
                return self._fork()
            except OSError:  # it was killed: the second try starts a new one
                self._end()
                return self._fork()

    def end(self, hand: int) -> int:
        """End a hand, if it has not crashed; its exit code."""
        with self._lock:
            try:
                assert self._control is not None
                self._control.send(NUMBER.pack(hand))
                return self._answer()
            except OSError:
                return -signal.SIGKILL

    def close(self) -> None:
        with self._lock:
            self._end()

    def _fork(self) -> tuple[int, socket.socket]:
        control = self._control or self._start()
        ours, its = socket.socketpair()
        with its:
            socket.send_fds(control, [NUMBER.pack(0)], [its.fileno()])
        try:
            return self._answer(), ours
        except OSError:
            ours.close()
            raise

    def _answer(self) -> int:
        assert self._control is not None
        told = self._control.recv(NUMBER.size)
        if not told:
            raise ConnectionError("the process that forks hands has ended")
        (number,) = NUMBER.unpack(told)
        return int(number)

    def _start(self) -> socket.socket:
        # packets keep their bounds: a number is never read in two halves
        self._control, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            path = os.pathsep.join([CODE, *filter(None, [os.environ.get("PYTHONPATH")])])
            self._process = subprocess.Popen(
                [*self._command, str(its.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # libraries print where they like
                stderr=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
                env={**os.environ, **ENVIRONMENT, "PYTHONPATH": path},
            )
        return self._control

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._control = self._process = None


@cache
def crew() -> Crew:
    """The one of this worker: it serves list after list, and ends with it."""
    return Crew()


class Hand:
    """One child at work with the options of a run. A context manager; not for several threads at once.

    `large` is held while it decodes a large picture: hands that share it hold one at a time.
    """

    def __init__(self, options: ImagesOptions, scratch: Path, large: threading.Lock, crew: Crew) -> None:
        self._options = options
        self._scratch = scratch
        self._large = large
        self._crew = crew
        self._process = 0
        self._socket: socket.socket | None = None

    def __enter__(self) -> Hand:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._dismiss()

    def make(self, path: Path, name: str, folder: Path, data: bytes | None = None) -> tuple[dict[str, Any], dict[str, bytes]]:
        """The index row of a picture and those pieces that are not files in `folder` (`picture.make`).

        A crash is tried a second time before it is believed.
        """
        asked = {"path": str(path), "name": name, "folder": str(folder)}
        code = 0
        for _ in range(2):
            try:
                answer = self._ask(asked, [] if data is None else [data])
            except TimeoutError:
                self._dismiss()
                return _error("timeout", f"it took longer than {self._options.timeout_s:g} s"), {}
            if answer is not None:
                about, blobs = answer
                return about["row"], dict(zip(about["files"], blobs, strict=True))
            code = self._dismiss()
            shutil.rmtree(folder, ignore_errors=True)
        return _error("crashed", _why(code)), {}

    def _ask(self, asked: dict[str, Any], blobs: list[bytes]) -> messages.Message | None:
        """The answer; None from a child that died. Raises `TimeoutError`."""
        hand = self._socket or self._start()
        until = time.monotonic() + self._options.timeout_s
        hand.settimeout(self._options.timeout_s)
        try:
            messages.send(hand, asked, blobs)
            answer = messages.receive(hand, until)
            if answer is None or "large" not in answer[0]:
                return answer
            with self._large:
                until = time.monotonic() + self._options.timeout_s
                messages.send(hand, {})
                return messages.receive(hand, until)
        except ConnectionError:
            return None

    def _start(self) -> socket.socket:
        self._process, self._socket = self._crew.fork()
        about = {"options": self._options.model_dump(mode="json"), "scratch": str(self._scratch)}
        with suppress(ConnectionError):  # the next message will find out
            messages.send(self._socket, about)
        return self._socket

    def _dismiss(self) -> int:
        """End the child, if there is one; its exit code."""
        if self._socket is None:
            return 0
        self._socket.close()
        self._socket = None
        return self._crew.end(self._process)


def _error(code: str, reason: str) -> dict[str, Any]:
    return {"status": "error", "code": code, "reason": reason, "pieces": []}


def _why(code: int) -> str:
    if code == -signal.SIGKILL:
        return "its decoder was killed, most likely for lack of memory"
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"it crashes the decoder ({name}); it is damaged or hostile"
