"""The pages of docs/protocol/ hang together: each is in the README, has its sections, and links to what is there."""

import re
from pathlib import Path

import pytest

from tests.vectors.pages import FOLDER

PAGES = sorted(FOLDER.glob("*.md"))
PROTOCOLS = [page for page in PAGES if page.stem != "README"]
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
each_protocol = pytest.mark.parametrize("page", PROTOCOLS, ids=lambda page: page.stem)


def text_of(page: Path) -> str:
    """Return a page without its blocks."""
    return _FENCE.sub("", page.read_text("utf-8"))


def links(page: Path) -> list[str]:
    """Return where a page links to, within this repository."""
    return [target for target in _LINK.findall(text_of(page)) if "://" not in target]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_page_is_in_the_readme() -> None:
    linked = {target.partition("#")[0] for target in links(FOLDER / "README.md")}
    assert {page.name for page in PROTOCOLS} <= linked


@each_page
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in links(page):
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        if not other.exists() or (anchor and anchor not in anchors(other)):
            broken.append(target)
    assert broken == []


@each_protocol
def test_every_page_has_its_sections(page: Path) -> None:
    sections = re.findall(r"^## (.+)\n([^#]*)", text_of(page), re.MULTILINE)
    found = {name for name, body in sections if body.strip()}
    own = {"What is unknown"} if page.stem == "versions" else {"Versions and unknowns"}
    assert {"Limits", "Errors", "Golden bytes", *own} - found == set()


@each_protocol
def test_every_page_requires_something(page: Path) -> None:
    assert re.search(r"\bMUST\b", text_of(page))


def test_the_key_words_are_explained_once() -> None:
    assert [page.stem for page in PAGES if re.search(r"RFC (2119|8174)", text_of(page))] == ["README"]
