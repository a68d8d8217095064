"""Which tests run, and which beside each other.

Those marked `long` run under `make test-long` only. Those that share something costly stay in one process, all others go where
there is room.

(Marks of xdist do not group under pytest 9.2: it no longer takes a node's name from where xdist writes the group.)
"""

from __future__ import annotations

import os
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not os.environ.get("TILERY_LONG_TESTS"):
        for item in items:
            if mark := item.get_closest_marker("long"):
                item.add_marker(
                    pytest.mark.skip(reason=f"{mark.args[0] if mark.args else 'it takes long'}: make test-long has it")
                )


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Sharing:
    return Sharing(config, log)
