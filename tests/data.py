"""Where the tests find real data: never in the repository. Tests that need it skip, with a reason, where it is absent."""

import os
from pathlib import Path

import pytest

from cli.sample import sample

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("TILERY_TEST_DATA", ROOT.parent / "shared" / "data"))


def real(path: str) -> Path:
    """A file of the real test data, or a skip."""
    found = DATA / path
    if not found.exists():
        pytest.skip(f"real test data {path} is not below {DATA} (set TILERY_TEST_DATA)")
    return found


def autzen_trim() -> Path:
    """110,000 real points from a public package: always there."""
    return sample(ROOT / ".cache")
