"""Which code this is: the release, and a digest of all that decides a workload's results, part of every stage fingerprint."""

from __future__ import annotations

import hashlib
import sysconfig
from functools import cache
from pathlib import Path

from tilery import __version__

ROOT = Path(__file__).parent
PACKAGES = Path(sysconfig.get_path("purelib"))
_DECIDES = {".py", ".npz", ".onnx"}


@cache
def code_digest(workload: str) -> str:
    """A digest of what decides what a workload's stages write: its package with the weights in it, the spine's worker contract,
    and which packages are installed in which versions (not their files: a pinned version never changes)."""
    digest = hashlib.sha256(__version__.encode())
    own = (path for path in (ROOT / "workloads" / workload).rglob("*") if path.suffix in _DECIDES)
    for path in sorted([*own, ROOT / "workload.py"]):
        digest.update(path.relative_to(ROOT).as_posix().encode())
        digest.update(path.read_bytes())
    for path in sorted(PACKAGES.glob("*.dist-info")):
        digest.update(path.name.encode())
    return digest.hexdigest()[:16]
