"""No process outlives the twin: what it starts dies with it, even when the twin is killed with -9.

Two nets, since one alone has holes. A child asks the kernel to be killed when its parent dies (`PR_SET_PDEATHSIG`,
prctl(2)); the signal is sent when the *thread* that created the child ends, so the twin starts children from the thread
of its event loop only. A child's own children are not covered by that: each child leads a process group, and the
guardian, a process that only reads a pipe, kills the groups it was told of when the pipe ends.

As a script this file needs nothing but the standard library, so that it starts in milliseconds:
`python -I -S offspring.py exec PARENT_PID ARGV...` and `python -I -S offspring.py guard`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
OOM_SCORE = 500
"""When the machine's memory runs out, the kernel shall take a worker and not the twin (proc(5), oom_score_adj)."""


def die_with(parent: int) -> None:
    """Have the kernel kill this process when process `parent` dies; exit at once if it is dead already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(OOM_SCORE))
    if os.getppid() != parent:
        os._exit(1)


def launcher(argv: list[str]) -> list[str]:
    """The command that runs `argv` bound to the life of this process."""
    return [sys.executable, "-I", "-S", __file__, "exec", str(os.getpid()), *argv]


def kill_group(group: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Signal every process of a group; one that is gone is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, how)


class Guardian:
    """Kills the registered process groups when this process ends, however it ends."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, "guard"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def add(self, group: int) -> None:
        self._tell(f"+{group}")

    def remove(self, group: int) -> None:
        """The group has ended; its number may be used by others from now on."""
        self._tell(f"-{group}")

    def close(self) -> None:
        """End the guardian, and with it whatever is still registered."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        if self._process.stdin is not None and not self._process.stdin.closed:
            with contextlib.suppress(BrokenPipeError):
                print(line, file=self._process.stdin, flush=True)


def _guard() -> None:
    groups: set[int] = set()
    for line in sys.stdin:
        if line[0] == "+":
            groups.add(int(line[1:]))
        else:
            groups.discard(int(line[1:]))
    for group in groups:
        kill_group(group)


def _exec(parent: int, argv: list[str]) -> None:
    die_with(parent)
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        print(f"cannot start {argv[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    if sys.argv[1] == "guard":
        _guard()
    else:
        _exec(int(sys.argv[2]), sys.argv[3:])
