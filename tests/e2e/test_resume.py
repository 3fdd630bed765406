"""A side that is killed in the middle of a transfer and started again: the transfer goes on where it was."""

import time
from pathlib import Path

import pytest

from tests.counted import Counted, counting
from tests.e2e.conftest import World
from tests.programs import PATIENCE, Peer
from tests.trees import contents, make_tree, size_of


class Resumed:
    """A tree on its way from Alice to Bob, slowly enough to see where it is."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world, self._folder = world, folder
        self.tree, self.inbox = folder / "tree", folder / "inbox"
        make_tree(self.tree, large=3, small=100)
        self.size = size_of(self.tree)
        self.counted = Counted((folder / "sent.log", folder / "received.log"))

    def sends(self) -> Peer:
        start = counting(self._folder / "sent.log")
        return self._world.start_alice("--send", self.tree, "--limit-rate", "8M", start=start)

    def receives(self) -> Peer:
        start = counting(self._folder / "received.log")
        return self._world.start_bob("--receive", self.inbox, "--yes", start=start)

    def wait_for(self, part: float) -> None:
        """Wait until so much of it is verified and stored."""
        deadline = time.monotonic() + PATIENCE
        while self.counted.verified_bytes < part * self.size:
            assert time.monotonic() < deadline
            time.sleep(0.001)
            self.counted.read()


@pytest.fixture
def resumed(world: World, tmp_path: Path) -> Resumed:
    return Resumed(world, tmp_path)


def kill(peer: Peer) -> None:
    peer.process.kill()
    peer.exit_code()


def test_killed_on_either_side(resumed: Resumed) -> None:
    alice, bob = resumed.sends(), resumed.receives()
    resumed.wait_for(0.3)
    kill(bob)
    bob = resumed.receives()
    assert alice.wait_for("session_lost")["message"]
    resumed.wait_for(0.6)
    kill(alice)
    alice = resumed.sends()
    assert bob.wait_for("session_lost")["message"]
    assert (alice.exit_code(), bob.exit_code()) == (0, 0)

    counted = resumed.counted
    counted.read()
    assert contents(resumed.inbox / "tree") == contents(resumed.tree)
    assert [path.name for path in resumed.inbox.iterdir()] == ["tree"]
    assert counted.sent_in_vain() == []
    last = counted.sent_by(alice.process.pid)
    sent, received = alice.wait_for("transfer_sent"), bob.wait_for("transfer_received")
    assert sent["size"] == received["size"] == resumed.size
    assert sent["moved"] == received["moved"] == last < 0.4 * resumed.size
