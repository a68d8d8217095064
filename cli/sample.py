"""A real LiDAR file without data in the repository: it travels in the source distribution of laspy on the Python registry.

autzen_trim.laz: 110,000 points of a stadium in Eugene, Oregon (LAS 1.2, point format 3, colours, feet).
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path

from tilery.outcomes import Transient

PACKAGE = "laspy==2.7.0"
ARCHIVE = "laspy-2.7.0.tar.gz"
ARCHIVE_SHA256 = "f56feb5445e75d6ff12ee814aab6a35339290e75264ff277c6bf553f3025a3f5"
MEMBER = "laspy-2.7.0/tests/data/autzen_trim.laz"
SHA256 = "75867b3e75cfc3c2e96da9f753c04c9fbaa6a59468dea13e2859f3109b38bd66"


def sample(cache: Path) -> Path:
    """The sample file below `cache`, fetched once. Raises `Transient` if the registry cannot be reached or sent other bytes."""
    path = cache / "autzen_trim.laz"
    if path.exists() and _sha256(path) == SHA256:
        return path
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / ARCHIVE
    if not archive.exists() or _sha256(archive) != ARCHIVE_SHA256:
        command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
        subprocess.run(
            [*command, "--no-deps", "--no-binary", "laspy", PACKAGE, "-d", str(cache)], check=False, capture_output=True
        )
    if not archive.exists() or _sha256(archive) != ARCHIVE_SHA256:
        raise Transient(
            f"could not fetch {PACKAGE} (its source distribution) from the Python registry; try again, or use your own file"
        )
    with tarfile.open(archive) as tar:
        member = tar.extractfile(MEMBER)
        data = member.read() if member else b""
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise Transient(f"{MEMBER} in {archive} is not the expected file; delete {archive} and try again")
    partial = path.with_suffix(".part")
    partial.write_bytes(data)
    partial.replace(path)
    return path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
