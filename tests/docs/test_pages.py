"""Links between the pages lead somewhere, and the modules they name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docker/README.md")),
    *sorted((REPOSITORY / "docs").rglob("*.md")),
]
ROOTS = ("rewardkit/", "callbacks/", "recipes/", "tools/", "tests/", "docs/", "docker/", ".ci/")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target or target.startswith(("#", "mailto:")):
            continue
        assert (page.parent / target.partition("#")[0]).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_to_a_heading(page: Path) -> None:
    for target, mark in re.findall(r"\]\(([\w./-]*)#([\w-]+)\)", page.read_text(encoding="utf-8")):
        there = page.parent / target if target else page
        headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
        marks = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
        assert mark in marks, f"{page.name} links to {target}#{mark}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_files_that_are_named_exist(page: Path) -> None:
    for name in re.findall(r"`([\w./-]+)`", page.read_text(encoding="utf-8")):
        if name.startswith(ROOTS) and not re.search(r"\b[A-Z]{3,}\b", name.removesuffix("README.md")):
            assert (REPOSITORY / name).exists(), f"{page.name} names {name}"


def test_the_map_shows_every_room() -> None:
    page = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {path.parent.name for path in (REPOSITORY / "rewardkit").glob("*/__init__.py")}
    assert len(rooms) >= 8
    for room in rooms:
        assert f"`rewardkit/{room}/`" in page
