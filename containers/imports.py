"""Import everything that an image's workload is made of, while the image is built: `python -m containers.imports WORKLOAD`.

A library that the base image lacks then fails the build, and not the first run.
"""

from __future__ import annotations

import pkgutil
import sys
from collections.abc import Iterator
from importlib import import_module

from tilery import names, registry


def modules(workload: str) -> Iterator[str]:
    """The workload's own modules, what it says that it needs, and the handlers of the functions that run from its image."""
    package = import_module(registry.known()[workload].partition(":")[0].rpartition(".")[0])
    yield from (found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."))
    yield from registry.load(workload).needs
    yield from (f"functions.{one.name}.handler" for one in names.FUNCTIONS.values() if one.kind == "data")
    yield "awslambdaric"


def main(workload: str) -> None:
    for module in modules(workload):
        if not module.endswith(".__main__"):
            import_module(module)


if __name__ == "__main__":
    main(sys.argv[1])
