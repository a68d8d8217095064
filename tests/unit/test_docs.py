"""The documentation says what the code does."""

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from tilery import registry
from tilery.workloads.pointcloud.options import GroundOptions

ROOT = Path(__file__).parent.parent.parent


def rows(kind: type[BaseModel]) -> list[str]:
    """A line of each option: name, default, description."""
    found = []
    for name, field in kind.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "see below" if isinstance(default, BaseModel) else f"`{json.dumps(default)}`"
        found.append(f"| `{name}` | {shown} | {field.description} |")
    return found


@pytest.mark.parametrize("workload", registry.names())
def test_every_option_of_a_workload_stands_in_its_page_with_its_default(workload: str) -> None:
    page = (ROOT / "docs" / f"{workload}.md").read_text()
    assert [row for row in rows(registry.options(workload)) if row not in page] == []


def test_the_ground_options_stand_in_the_page_of_the_point_cloud() -> None:
    page = (ROOT / "docs" / "pointcloud.md").read_text()
    assert [row for row in rows(GroundOptions) if row not in page] == []


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "benchmarks" / "README.md"]
)
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []
