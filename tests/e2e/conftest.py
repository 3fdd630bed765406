"""Real programs on loopback: a mediator, and ways to start the two peers that it admits."""

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


@pytest.fixture
def world(programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> World:
    alice, bob = keys
    return World(programs, programs.mediator(tmp_path / "mediator", keys), alice, bob)
