"""Real programs on loopback: a mediator, and ways to start the two peers that it admits."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.lasting_ports import lasting_ports
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


@pytest.fixture
def lasting_world(programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> World:
    """A world whose mediator another one can take the place of, on the same ports."""
    alice, bob = keys
    first = lasting_ports(3)
    ports = ("--port", str(first), "--stun-port", str(first + 1))
    return World(programs, programs.mediator(tmp_path / "mediator", keys, *ports), alice, bob)


def next_mediator(world: World, tmp_path: Path, *admitted: Keys) -> Mediator:
    """Start another mediator with the files and the ports of the one before, which admits the two, or others."""
    before = world.mediator
    ports = ("--port", str(before.port), "--stun-port", str(before.stun_port))
    mediator: Mediator = world.programs.mediator(tmp_path / "mediator", admitted or (world.alice, world.bob), *ports)
    assert mediator.id == before.id
    return mediator
