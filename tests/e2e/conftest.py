"""Real programs on loopback: two pairs of keys made once, and programs that end with the test."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.programs import Keys, Mediator, Peer, Programs


@dataclass
class World:
    """A mediator that admits Alice and Bob, and ways to start them."""

    programs: Programs
    mediator: Mediator
    alice: Keys
    bob: Keys

    def start_alice(self, *flags: str | Path, **options: Any) -> Peer:
        return self.programs.peer("alice", self.mediator, self.alice, self.bob, *flags, **options)

    def start_bob(self, *flags: str | Path, **options: Any) -> Peer:
        return self.programs.peer("bob", self.mediator, self.bob, self.alice, *flags, **options)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Keys, Keys]:
    folder = tmp_path_factory.mktemp("keys")
    return Keys.make(folder / "alice"), Keys.make(folder / "bob")


@pytest.fixture
def programs() -> Iterator[Programs]:
    with Programs() as running:
        yield running


@pytest.fixture
def world(programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> World:
    alice, bob = keys
    for pair in keys:  # each test has a mediator of its own, on a port that an earlier one may have had
        (pair.folder / "state" / "known_mediators.json").unlink(missing_ok=True)
    return World(programs, programs.mediator(tmp_path / "mediator", keys), alice, bob)
