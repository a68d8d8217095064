"""Which code this is: the release, and a digest of a workload's source that is part of every stage fingerprint."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from tilery import __version__

ROOT = Path(__file__).parent


@cache
def code_digest(workload: str) -> str:
    """A digest of the source that decides what a workload's stages write: its package and the spine's worker contract."""
    digest = hashlib.sha256(__version__.encode())
    for path in sorted([*(ROOT / "workloads" / workload).rglob("*.py"), ROOT / "workload.py"]):
        digest.update(path.relative_to(ROOT).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
