"""docs/dependencies.md has every package that comes into a user's process; nothing is installed without a hash."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "dependencies.md").read_text()
with (ROOT / "pyproject.toml").open("rb") as project_file:
    PROJECT = tomllib.load(project_file)
RUNTIME = [Requirement(text) for text in PROJECT["project"]["dependencies"]]
LOCK = (ROOT / "requirements" / "runtime.txt").read_text()


def rows(section: str) -> list[list[str]]:
    """The cells of the table below a heading, without its head."""
    text = re.split(rf"^##+ {section}$", PAGE, flags=re.MULTILINE)[1]
    lines = re.split(r"^##", text, flags=re.MULTILINE)[0].splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")][1:]


def locked() -> dict[str, str]:
    """The packages of the lock, and the marker that each has."""
    found = re.findall(r"^([\w.-]+)==\S+(?: ; (.+?))?(?: \\)?$", LOCK, re.MULTILINE)
    return {canonicalize_name(name): marker for name, marker in found}


def installed() -> set[str]:
    """What our dependencies bring along in this environment, and they."""
    found: set[str] = set()
    wanted = list(RUNTIME)
    while wanted:
        one = wanted.pop()
        found.add(canonicalize_name(one.name))
        further = [Requirement(text) for text in metadata.requires(one.name) or []]
        wanted += [each for each in further if any(applies(each, extra) for extra in one.extras or {""})]
    return found


def applies(requirement: Requirement, extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def test_each_that_we_ask_for_has_its_reason() -> None:
    named = [re.findall(r"\[([\w-]+)\]\(http", row[0]) for row in rows("What runs")]
    asked = {canonicalize_name(one.name) for one in RUNTIME}
    extras = {extra for one in RUNTIME for extra in one.extras}
    assert {canonicalize_name(name) for names in named for name in names} == asked | extras
    assert len(named) == len(asked)


def test_each_that_comes_along_is_on_the_page() -> None:
    table = {row[0]: row[1] for row in rows("Who makes them, and what each could do")}
    assert set(table) == set(locked())
    assert {name for name, by in table.items() if by.startswith("us")} == {
        canonicalize_name(one.name) for one in RUNTIME
    }


def test_nothing_else_is_installed_than_what_is_locked() -> None:
    needed = {
        name for name, marker in locked().items() if applies(Requirement(f"{name} ; {marker}" if marker else name))
    }
    assert installed() == needed


def test_every_tool_is_on_the_page() -> None:
    groups = PROJECT["dependency-groups"].values()
    asked = {Requirement(text).name for group in groups for text in group} | {"hatchling"}
    named = " ".join(row[0] for row in rows("What builds and checks"))
    assert {name for name in asked if not re.search(rf"\b{name}\b", named)} == set()


def test_nothing_is_installed_without_a_hash() -> None:
    """But for what is here."""
    for name in ("Makefile", "Dockerfile"):
        text = (ROOT / name).read_text().replace("\\\n", " ")
        lines = [line for line in text.splitlines() if re.search(r"pip install|\$\(install\)|pip\b.*\binstall -", line)]
        assert lines
        for line in lines:
            for command in re.findall(r"(?:pip install|\$\(install\))(.*?)(?:&&|$)", line):
                assert "--require-hashes" in command or "--no-deps" in command, line


def test_every_package_of_a_lock_has_hashes() -> None:
    for lock in (ROOT / "requirements").glob("*.txt"):
        text = lock.read_text()
        packages = re.findall(r"^[\w.-]+==.*(?:\n    --hash=sha256:[0-9a-f]{64}.*)*", text, re.MULTILINE)
        assert packages
        assert all("--hash=sha256:" in package for package in packages), lock
