from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.toys import SUMS, environment
from tests.workflow.spine import Spine
from tilery import registry


@pytest.fixture
def spine(tmp_path: Path) -> Iterator[Spine]:
    with environment(SUMS):
        registry.load.cache_clear()
        yield Spine(tmp_path / "root")
