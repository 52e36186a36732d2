"""The documentation names what there is: files, commands, methods, studies, targets of the Makefile."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import registry
from bench.cli import main

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]


def test_the_readme_is_short_and_names_the_test_command() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    assert re.search(r"^make test +#", text, flags=re.MULTILINE)
    assert "make test\n" in (ROOT / ".ci" / "run").read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", page.read_text())
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_a_page_exists(page: Path) -> None:
    text = page.read_text()
    commands = set(re.findall(r"(?:`|^)bench ([a-z]+(?:-[a-z]+)*)", text, flags=re.MULTILINE))
    assert commands <= set(main.COMMANDS)
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z]+(?:-[a-z]+)*)", text, flags=re.MULTILINE)) <= targets


@pytest.mark.parametrize(
    ("page", "group"), [("methods.md", registry.METHODS), ("studies.md", registry.STUDIES)], ids=["methods", "studies"]
)
def test_a_page_lists_every_plug_in(page: str, group: str) -> None:
    listed = re.findall(r"^\| `(\w+)` \|", (ROOT / "docs" / page).read_text(), flags=re.MULTILINE)
    assert sorted(listed) == registry.names(group)


def test_results_that_chose_on_seen_images_are_marked() -> None:
    text = (ROOT / "docs" / "results.md").read_text()
    assert text.count("Not valid: to be run again") == text.count("start=WEIGHTS")
    assert "91.26" not in README.read_text()
