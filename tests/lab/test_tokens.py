"""Two peers meet by their tokens: no mediator anywhere, and nothing on the public segment but STUN, or not even that.

Some of these take as long as people take to copy a token: what is tested is that a NAT is kept open meanwhile, and no
clock but the real one closes it. Each wait is taken by several pairs at once, in labs side by side.
"""

import json
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.meetings import on
from tests.lab.nat import Lab
from tests.lab.stun_alone import serve_stun
from tests.programs import Keys, Peer, Programs
from tests.token_peers import paste, token_of, token_peer

pytestmark = pytest.mark.netns

LATE = 90.0  # s from the first token to the pasting of the last one
GUESSING = 240.0  # s; a round of guesses finds the port of a hard NAT with 86 %, and the fifth and last is at 180 s
SHORT_LIFE = 30.0  # s, the shortest that --ttl takes
CONTENT = bytes(range(256)) * 5000


class Pair:
    """The peers on "a" and "b" of a lab; they say hello to each other, "a" sends a file, and both leave."""

    def __init__(
        self,
        lab: Lab,
        programs: Programs,
        keys: tuple[Keys, Keys] | None,
        folder: Path,
        *,
        stun: bool = True,
        flags: dict[str, Sequence[str]] | None = None,
    ) -> None:
        """Start both; `flags` are further ones, by host."""
        folder.mkdir()
        self._inbox, self._file = folder / "inbox", folder / "source.bin"
        self._inbox.mkdir()
        self._file.write_bytes(CONTENT)
        servers = serve_stun(lab) if stun else []
        does = {"a": ["--send", str(self._file)], "b": ["--receive", str(self._inbox), "--yes"]}
        self.peers: dict[str, Peer] = {}
        one, two = keys or (None, None)
        for host, own, other in (("a", one, two), ("b", two, one)):
            arguments = [*servers, "--message", f"from {host}", *does[host], *((flags or {}).get(host, ()))]
            state = folder / f"state-{host}"
            peer = token_peer(programs, host, state, *arguments, own=own, other=other, start=on(lab, host))
            self.peers[host] = peer

    def carry(self, source: str, to: str) -> None:
        """Take the token of one peer to the other."""
        paste(token_of(self.peers[source]), self.peers[to])

    def reads(self, host: str) -> None:
        """Wait until a peer has read a token that was taken to it, and tries to reach the other one."""
        self.peers[host].wait_for("token_read")

    def meet(self, *paths: str, patience: float = 30.0) -> None:
        """Both connect over a path of one of these kinds, say the same of it, and do all that they were told to."""
        one, two = (peer.wait_for("connected", patience) for peer in self.peers.values())
        assert one["path"] == two["path"]
        assert one["path"] in paths
        assert {one["role"], two["role"]} == {"initiator", "responder"}
        assert [peer.exit_code() for peer in self.peers.values()] == [0, 0]
        for host, other in ("ab", "ba"):  # signatures of messages cover the session's id
            assert [message["text"] for message in self.peers[host].all("message")] == [f"from {other}"]
        assert (self._inbox / self._file.name).read_bytes() == CONTENT
        receipts = [self.peers["a"].wait_for("transfer_sent"), self.peers["b"].wait_for("transfer_received")]
        sent, received = (json.loads(Path(one["receipt"]).read_text().splitlines()[0]) for one in receipts)
        assert sent["session"] == received["session"]


@pytest.mark.parametrize(
    ("a", "b", "path"),
    [
        ("port-restricted", "port-restricted", "tcp"),
        ("pr-reject", "port-restricted", "tcp"),
        ("cgnat", "pr-nopreserve", "tcp"),
        ("sym-seq", "port-restricted", "quic"),
        ("no-udp", "port-restricted", "tcp"),
        ("no-udp", "no-udp", "tcp"),
    ],
)
@pytest.mark.parametrize("first", "ab")
def test_two_networks(
    a: str, b: str, path: str, first: str, programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    with Lab(a, b) as lab:
        pair = Pair(lab, programs, keys, tmp_path / "pair")
        second = "b" if first == "a" else "a"
        pair.carry(first, second)
        pair.reads(second)
        pair.carry(second, first)
        pair.meet(path)


def test_a_router_that_answers_what_comes_early(programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    """It gives its own peer another port for whoever sent before that peer did, so that peer reads a token first."""
    with Lab("pr-reject", "pr-open") as lab:
        pair = Pair(lab, programs, keys, tmp_path / "pair")
        pair.carry("a", "b")
        pair.reads("b")
        pair.carry("b", "a")
        pair.meet("tcp", "quic")  # TCP has been reset before, and may come up again within its grace


def test_the_last_token_may_come_late(programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    """Also to the one who read the other's long ago, whose NAT has to stay open for as long."""
    with ExitStack() as stack:
        labs = [stack.enter_context(Lab("port-restricted", "port-restricted")) for _ in range(3)]
        early, mirrored, both_late = (
            Pair(lab, programs, keys, tmp_path / str(number)) for number, lab in enumerate(labs)
        )
        early.carry("a", "b")
        mirrored.carry("b", "a")
        token_of(both_late.peers["a"])
        token_of(both_late.peers["b"])
        time.sleep(LATE)
        early.carry("b", "a")
        mirrored.carry("a", "b")
        both_late.carry("a", "b")
        both_late.carry("b", "a")
        for pair in (early, mirrored, both_late):
            pair.meet("tcp")


@pytest.mark.parametrize("carried", ["a", "b", "both, and no keys"])
def test_one_lan_without_stun(carried: str, programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    """Everybody can be reached there, so one token is enough, unless it takes both to know who comes."""
    with Lab("port-restricted", "port-restricted", topology="same-lan") as lab:
        needs_both = carried not in "ab"
        pair = Pair(lab, programs, None if needs_both else keys, tmp_path / "pair", stun=False)
        if carried != "b":
            pair.carry("a", "b")
        if carried != "a":
            pair.carry("b", "a")
        pair.meet("tcp")


def test_a_hard_nat(programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    """Nobody's port is known: it is guessed, whoever is the first to have both tokens, and by how much."""
    with ExitStack() as stack:
        labs = [stack.enter_context(Lab("symmetric", "port-restricted")) for _ in range(4)]
        pairs = [Pair(lab, programs, keys, tmp_path / str(number)) for number, lab in enumerate(labs)]
        hard_waits, easy_waits, hard_first, easy_first = pairs
        for pair in (hard_waits, hard_first):
            pair.carry("b", "a")
        for pair in (easy_waits, easy_first):
            pair.carry("a", "b")
        hard_first.carry("a", "b")
        easy_first.carry("b", "a")
        time.sleep(9)  # just before the second round of guesses
        easy_waits.carry("b", "a")
        time.sleep(21)  # by now the hard side has other ports
        hard_waits.carry("a", "b")
        for pair in pairs:
            pair.meet("quic", patience=GUESSING)


@pytest.mark.parametrize("a", ["port-restricted", "symmetric"])
def test_the_token_of_the_side_that_can_be_reached_is_enough(
    a: str, programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path
) -> None:
    with Lab(a, "none") as lab:
        pair = Pair(lab, programs, keys, tmp_path / "pair")
        pair.carry("b", "a")
        pair.meet("tcp")


def test_two_hard_nats_end_with_the_shorter_token(programs: Programs, keys: tuple[Keys, Keys], tmp_path: Path) -> None:
    with Lab("symmetric", "symmetric") as lab:
        began = time.monotonic()
        pair = Pair(lab, programs, keys, tmp_path / "pair", flags={"a": ["--ttl", f"{SHORT_LIFE:g}"]})
        pair.carry("a", "b")
        pair.carry("b", "a")
        for peer in pair.peers.values():
            assert peer.exit_code(2 * SHORT_LIFE) == 6
            assert peer.wait_for("error")["code"] == "no-path"
        assert time.monotonic() > began + SHORT_LIFE, "until then there was hope"
