"""A full disk, said in plain words."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

from tilery.outcomes import Outcome


class DiskFull(Outcome):
    """There is no room to write. Not retried by itself: make room, then redrive the run."""


@contextmanager
def room_on(place: str | os.PathLike[str]) -> Iterator[None]:
    """Raise `DiskFull` for the system's ENOSPC or EDQUOT; `place` is the path to name."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(f"the disk that holds {os.fspath(place)} is full; make room, then redrive the run") from error
