"""Two real peers in the lab that talk while something happens to their networks.

chat = Chat.over_tcp(MeetingPlace(lab, programs, keys, folder), programs)
disturbances.cut(lab, "tcp")
chat.say("in between")
chat.moves_to("quic")
chat.end()
"""

import subprocess
from collections.abc import Sequence
from typing import Final, Self

from tests.lab import disturbances
from tests.lab.meetings import MeetingPlace
from tests.programs import Peer, Programs

__all__ = ["LIVENESS", "Chat"]

LIVENESS: Final = 60.0  # s for a dead path to be noticed (15 s are allowed) and replaced


class Chat:
    """Two peers that read what they say from their standard inputs, and what they have said so far."""

    def __init__(self, place: MeetingPlace, programs: Programs, *flags: str) -> None:
        self.peers = {host: place.peer(programs, host, *flags, stdin=subprocess.PIPE) for host in "ab"}
        self._said: dict[str, list[str]] = {"a": [], "b": []}
        for peer in self.peers.values():
            peer.wait_for("connected")

    @classmethod
    def over_tcp(cls, place: MeetingPlace, programs: Programs) -> Self:
        """One that begins on TCP: they cannot meet over UDP, though the path may move there from then on."""
        disturbances.cut(place.lab, "udp")
        chat = cls(place, programs)
        disturbances.heal(place.lab)
        assert chat.path == "tcp"
        return chat

    @property
    def path(self) -> str:
        """The one it began on."""
        one, other = (peer.wait_for("connected")["path"] for peer in self.peers.values())
        assert one == other
        return str(one)

    def say(self, text: str) -> None:
        """Let both say something; it need not arrive."""
        for host, peer in self.peers.items():
            said = f"{text}, says {host}"
            self._said[host].append(said)
            stdin = peer.process.stdin
            assert stdin is not None
            stdin.write(f"{said}\n")
            stdin.flush()

    def heard(self) -> None:
        """Wait until both have been shown all that was said."""
        for host, other in (("a", "b"), ("b", "a")):
            self.peers[host].wait_for("message", LIVENESS, nth=len(self._said[other]))

    def moves_to(self, *paths: str) -> None:
        """Wait until both say that the path is now one of these; on a slow machine there may be others before."""
        one, other = (_moved(peer, paths) for peer in self.peers.values())
        assert one == other

    def end(self) -> None:
        """Both leave in good order: each was shown what the other said, in order and once."""
        for peer in self.peers.values():
            assert peer.process.stdin is not None
            peer.process.stdin.close()
        assert [peer.exit_code(LIVENESS) for peer in self.peers.values()] == [0, 0]
        for host, other in (("a", "b"), ("b", "a")):
            assert [message["text"] for message in self.peers[host].all("message")] == self._said[other]


def _moved(peer: Peer, paths: Sequence[str]) -> str:
    nth = 1
    while (path := peer.wait_for("path_changed", LIVENESS, nth=nth)["path"]) not in paths:
        nth += 1
    return str(path)
