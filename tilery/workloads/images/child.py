"""The process that opens strangers' pictures: one JSON line in, one JSON line out, until its input ends.

A decoder that crashes takes this process with it, not the worker. It is never told where the store is.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

ADDRESS_SPACE = 6 * 2**30
"""Bytes: a picture that needs more is refused by the system, not by the machine's collapse."""


def main() -> None:
    answers = _private_stdout()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    with suppress(OSError):  # where it is allowed: the first to go when memory runs out
        Path("/proc/self/oom_score_adj").write_text("800")
    from tilery.workloads.images import picture
    from tilery.workloads.images.options import ImagesOptions

    picture.settle()
    options = ImagesOptions.model_validate_json(sys.stdin.readline())
    for line in sys.stdin:
        asked = json.loads(line)
        row = picture.make(Path(asked["path"]), asked["name"], Path(asked["folder"]), options)
        answers.write(json.dumps(row) + "\n")
        answers.flush()


def _private_stdout() -> TextIO:
    """Libraries print where they like; answers go where they cannot."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


if __name__ == "__main__":
    main()
