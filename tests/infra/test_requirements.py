"""Every module that a workload's image imports comes with its pinned requirements, or with what those require in turn.

test_image installs one image for real; this reads the imports of all of them, those inside functions too.
"""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.infra.conftest import ROOT
from tilery import names, registry

OURS = {"tilery", "functions", "containers"}
NOT_HERE = {"awslambdaric"}
"""Only images hold it."""
ON_A_GPU = {"cupy", "cupyx"}
"""Of the CUDA images' own requirements; imported only where a GPU was found."""


@pytest.mark.parametrize("workload", registry.WORKLOADS)
def test_an_image_holds_every_module_that_its_code_imports(workload: str) -> None:
    held = packages_of(ROOT / "containers/requirements.txt") | packages_of(ROOT / f"containers/{workload}/requirements.txt")
    providers = packages_distributions()
    for path in code_of(workload):
        for module in imported(path):
            if module in OURS | ON_A_GPU or module in sys.stdlib_module_names:
                continue
            found = {normal(name) for name in providers.get(module, [])}
            assert found & held, f"{path.relative_to(ROOT)} imports {module}, which containers/{workload} does not hold"


def test_a_module_that_no_image_holds_would_be_seen() -> None:
    held = packages_of(ROOT / "containers/requirements.txt")
    assert not held & {"typer", "moto", "pytest", "rich"}
    assert "boto3" in held


def code_of(workload: str) -> list[Path]:
    """What the image's verbs and data functions may run: the library without other workloads, and their handlers.

    device.py is left out: it asks for libraries that may not be there.
    """
    library = [path for path in (ROOT / "tilery").rglob("*.py") if "workloads" not in path.parts and path.name != "device.py"]
    handlers = [ROOT / f"functions/{one.name}/handler.py" for one in names.FUNCTIONS.values() if one.kind == "data"]
    own = list((ROOT / "tilery/workloads" / workload).rglob("*.py"))
    assert own
    return [*library, *handlers, *own, *(ROOT / "containers").glob("*.py")]


def imported(path: Path) -> set[str]:
    """Top-level modules that are imported anywhere in a file, but for type checkers alone."""
    modules = set()
    nodes: list[ast.AST] = [ast.parse(path.read_text())]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            modules.add(node.module.partition(".")[0])
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            nodes += node.orelse
        else:
            nodes += ast.iter_child_nodes(node)
    return modules


def packages_of(file: Path) -> set[str]:
    """The distributions of a requirements file, and all that they require."""
    found: set[str] = set()
    for line in file.read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text.startswith("-r"):
            found |= packages_of(file.parent / text[2:].strip())
        elif text and not text.startswith("-"):
            found |= closure(text)
    return found


@cache
def closure(requirement: str) -> frozenset[str]:
    wanted = Requirement(requirement)
    found = {normal(wanted.name)}
    if wanted.name in NOT_HERE:
        return frozenset(found)
    for text in distribution(wanted.name).requires or []:
        needed = Requirement(text)
        if any(needed.marker is None or needed.marker.evaluate({"extra": extra}) for extra in wanted.extras | {""}):
            found |= closure(str(needed).partition(";")[0].strip())
    return frozenset(found)


def normal(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()
