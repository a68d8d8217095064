"""The documentation says what the code does. `python -m tests.unit.test_docs` writes docs/options.md anew."""

import json
import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from tilery import registry
from tilery.workloads.pointcloud.options import GroundOptions, ObjectOptions

ROOT = Path(__file__).parent.parent.parent
OPTIONS = ROOT / "docs" / "options.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "benchmarks" / "README.md"]


def rows(kind: type[BaseModel]) -> list[str]:
    """A line of each option: name, default, description."""
    found = []
    for name, field in kind.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "see below" if isinstance(default, BaseModel) else f"`{json.dumps(default)}`"
        found.append(f"| `{name}` | {'needed' if default is PydanticUndefined else shown} | {field.description} |")
    return found


def options_page() -> str:
    """docs/options.md."""
    head = "# Every option of every workload\n\nWritten from the code: `python -m tests.unit.test_docs`.\n"
    tables = [(f"`{name}`", registry.options(name)) for name in registry.names()]
    tables += [("`ground` of `pointcloud`", GroundOptions), ("`objects` of `pointcloud`", ObjectOptions)]
    parts = [
        f"\n## {title}\n\n| option | default | what |\n|---|---|---|\n" + "\n".join(rows(kind)) + "\n" for title, kind in tables
    ]
    return head + "".join(parts)


def test_the_page_of_options_is_what_the_code_says() -> None:
    assert OPTIONS.read_text() == options_page(), "python -m tests.unit.test_docs"


@pytest.mark.parametrize("workload", registry.names())
def test_every_workload_has_a_page_that_the_readme_links(workload: str) -> None:
    assert (ROOT / "docs" / f"{workload}.md").exists()
    assert f"(docs/{workload}.md)" in (ROOT / "README.md").read_text()


def test_the_options_of_the_point_cloud_page_are_current() -> None:
    page = (ROOT / "docs" / "pointcloud.md").read_text()
    expected = rows(registry.options("pointcloud")) + rows(GroundOptions) + rows(ObjectOptions)
    assert [row for row in expected if row not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


if __name__ == "__main__":
    OPTIONS.write_text(options_page())
