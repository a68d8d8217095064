"""Which tests run beside each other: those that share something costly stay in one process, all others go where there is room.

(Marks of xdist do not group under pytest 9.2: it no longer takes a node's name from where xdist writes the group.)
"""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

TOGETHER = {"tests/infra/test_image.py": "image", "tests/infra/": "templates"}
"""Beginning of a test's name -> what it shares. The first that fits counts."""
SHARING = ("tests/e2e/", "tests/unit/test_cli_", "tests/unit/test_store_", "tests/unit/test_smoke.py")
"""Where each file has something of its own that its tests share."""


class Sharing(LoadScopeScheduling):
    def _split_scope(self, nodeid: str) -> str:
        together = next((group for start, group in TOGETHER.items() if nodeid.startswith(start)), None)
        return together or (nodeid.partition("::")[0] if nodeid.startswith(SHARING) else nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Sharing:
    return Sharing(config, log)
