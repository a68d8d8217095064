"""Keeps a child process at work: starts it, asks it, replaces it when it crashes or takes too long."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import tilery
from tilery.workloads.images.options import ImagesOptions

CODE = str(Path(tilery.__file__).parent.parent)


class Hand:
    """One child. A context manager; not for several threads at once."""

    def __init__(self, options: ImagesOptions, scratch: Path, command: tuple[str, ...] = ()) -> None:
        self._options = options
        self._scratch = scratch
        self._command = command or (sys.executable, "-m", "tilery.workloads.images.child")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Hand:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._dismiss()

    def make(self, path: Path, name: str, folder: Path) -> dict[str, Any]:
        """The index row of a picture (`picture.make`). A crash is tried a second time before it is believed."""
        asked = json.dumps({"path": str(path), "name": name, "folder": str(folder)}).encode() + b"\n"
        code = 0
        for _ in range(2):
            answer = self._ask(asked)
            if isinstance(answer, dict):
                return answer
            for left in folder.iterdir():
                left.unlink()
            if answer is None:
                return _error("timeout", f"it took longer than {self._options.timeout_s:g} s")
            code = answer
        return _error("crashed", _why(code))

    def _ask(self, asked: bytes) -> dict[str, Any] | int | None:
        """The answer; None after the time limit; the return code of a child that died."""
        process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(asked)
            process.stdin.flush()
        except BrokenPipeError:
            return self._buried()
        end = time.monotonic() + self._options.timeout_s
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                self._dismiss()
                return None
            part = os.read(process.stdout.fileno(), 1 << 20)
            if not part:
                return self._buried()
            line += part
        row: dict[str, Any] = json.loads(line)
        return row

    def _start(self) -> subprocess.Popen[bytes]:
        path = os.pathsep.join([CODE, *filter(None, [os.environ.get("PYTHONPATH")])])
        # Freed pixels go back to one arena, and small pictures are not mapped and unmapped one by one (15 % of the time).
        more = {
            "PYTHONPATH": path,
            "TMPDIR": str(self._scratch),
            "VIPS_CONCURRENCY": "1",
            "MALLOC_ARENA_MAX": "2",
            "MALLOC_MMAP_THRESHOLD_": "33554432",
            "MALLOC_TRIM_THRESHOLD_": "33554432",
        }
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env={**os.environ, **more},
        )
        assert self._process.stdin is not None
        self._process.stdin.write(self._options.model_dump_json().encode() + b"\n")
        return self._process

    def _buried(self) -> int:
        assert self._process is not None
        code = self._process.wait()
        self._dismiss()
        return code

    def _dismiss(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()
        self._process = None


def _error(code: str, reason: str) -> dict[str, Any]:
    return {"status": "error", "code": code, "reason": reason, "pieces": []}


def _why(code: int) -> str:
    if code == -signal.SIGKILL:
        return "its decoder was killed, most likely for lack of memory"
    name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return f"it crashes the decoder ({name}); it is damaged or hostile"
