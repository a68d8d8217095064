"""The processes that open strangers' pictures: one that has loaded the libraries, and hands that it forks in milliseconds.

A decoder that crashes takes its hand with it, not the worker. None of them is ever told where the store is. The worker holds
one end of a control socket: an 8-byte number with a socket is answered by the number of a new hand that serves that socket;
the number of a hand ends it, if it has not ended, and is answered by its exit code (below 0: the signal). When the worker has
gone, all of them end.
"""

from __future__ import annotations

import os
import resource
import signal
import socket
import struct
import sys
from contextlib import suppress
from pathlib import Path

NUMBER = struct.Struct("<q")
ADDRESS_SPACE = 4 * 2**30
"""Bytes of a hand, besides `lists.decoding_bytes` of the largest picture: one that needs more is refused by the system, not by
the machine's collapse."""


def main() -> None:
    from tilery.workloads.images import picture

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    picture.settle()
    control = socket.socket(fileno=int(sys.argv[1]))
    hands: set[int] = set()
    while True:
        asked, sockets, _, _ = socket.recv_fds(control, NUMBER.size, 1)
        if not asked:
            break
        (number,) = NUMBER.unpack(asked)
        if sockets:
            number = _forked(control, sockets[0])
            hands.add(number)
            control.send(NUMBER.pack(number))
        else:
            hands.discard(number)
            control.send(NUMBER.pack(_ended(number)))
    for number in hands:
        _ended(number)


def _ended(hand: int) -> int:
    os.kill(hand, signal.SIGKILL)  # one that crashed is still there until it is waited for, and keeps its own code
    return os.waitstatus_to_exitcode(os.waitpid(hand, 0)[1])


def _forked(control: socket.socket, descriptor: int) -> int:
    """The process id of a new hand. There is one thread here: libvips starts its own with the first picture."""
    number = os.fork()
    if number:
        os.close(descriptor)
        return number
    code = 1
    try:
        control.close()
        with suppress(OSError):  # where it is allowed: the first to go when memory runs out
            Path("/proc/self/oom_score_adj").write_text("800")
        _serve(socket.socket(fileno=descriptor))
        code = 0
    finally:
        os._exit(code)


def _serve(worker: socket.socket) -> None:
    """The first message has the options and the folder for temporary files; each further one a picture."""
    from tilery.workloads.images import messages, picture
    from tilery.workloads.images.lists import decoding_bytes
    from tilery.workloads.images.options import ImagesOptions

    def alone() -> None:
        """Wait until no other hand of this worker holds a large picture."""
        messages.send(worker, {"large": True})
        if messages.receive(worker) is None:
            raise SystemExit

    first = messages.receive(worker)
    if first is None:
        return
    options = ImagesOptions.model_validate(first[0]["options"])
    os.environ["TMPDIR"] = first[0]["scratch"]
    most = ADDRESS_SPACE + decoding_bytes(options)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    while message := messages.receive(worker):
        asked, data = message
        try:
            content = data[0] if data else None
            made = picture.make(Path(asked["path"]), asked["name"], Path(asked["folder"]), options, content, alone)
        except Exception as error:  # a fault of ours, or the disk is full: the batch goes on, and the row says what it was
            said = f"reading it failed unexpectedly: {type(error).__name__}: {error}"
            made = picture.Made({"status": "error", "code": "crashed", "reason": said[:300], "pieces": []})
        messages.send(worker, {"row": made.row, "files": list(made.inline)}, list(made.inline.values()))


if __name__ == "__main__":
    main()
