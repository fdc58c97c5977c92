"""Tests of the documents: what is generated is current, and links within the repository lead somewhere."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md"), ROOT / "hub" / "README.md"])


def test_page_of_the_command_line_is_current():
    page = runpy.run_path(str(ROOT / "docs" / "generate.py"))["page"]()
    assert (ROOT / "docs" / "cli.md").read_text(encoding="utf-8") == page, "run make docs"


@pytest.mark.parametrize("path", [*PAGES, *ROOT.glob("benchmarks/*.py")], ids=lambda p: str(p.relative_to(ROOT)))
def test_benchmarks_are_called_as_modules(path):
    """As scripts they would not find each other."""
    text = path.read_text(encoding="utf-8")
    assert "python benchmarks/" not in text
    modules = re.findall(r"python -m benchmarks\.(\w+)", text)
    assert all((ROOT / "benchmarks" / f"{name}.py").is_file() for name in modules)


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_within_the_repository_lead_somewhere(path):
    links = re.findall(r"\]\(([^)#\s]+)", path.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (path.parent / link).exists()]
    assert not missing
