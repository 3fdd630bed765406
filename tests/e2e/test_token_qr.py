"""The QR codes of `p2p-peer token`, read from a picture of the terminal by a program of somebody else's."""

import sys
from pathlib import Path

import pytest
from p2p_core.wire.token_text import parse

from tests.e2e.terminal_picture import Theme, codes_in
from tests.programs import PATIENCE, Keys, Programs, p2p_peer
from tests.terminal import Terminal

HERE = ("--bind", "127.0.0.1", "--no-port-mapping")
LONGEST = 154  # characters of the longest token: docs/protocol/token.md

# `p2p-peer` on a computer with addresses that fill a token to the last byte.
CROWDED = """
from p2p_core.wire.candidate import Address, Candidate, CandidateKind, Transport
from p2p_core.wire.offer import Mapping
from p2p_peer.cli.main import run_program
from p2p_peer.gather.candidates import Gathered

candidates = [
    Candidate(CandidateKind.MAPPED, transport, Address.of(f"203.0.113.{number}", port + min(number, 4)))
    for transport, port in ((Transport.TCP, 40000), (Transport.UDP, 50000))
    for number in range(8)
]
Gathered.candidates = lambda self: tuple(candidates)
Gathered.udp_mapping = property(lambda self: Mapping.SEQUENTIAL)
Gathered.udp_port_step = property(lambda self: 1)
run_program()
"""


@pytest.mark.parametrize("theme", Theme)
def test_two_people_point_their_cameras_at_each_others_screen(
    theme: Theme, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path
) -> None:
    people = []
    for own, other in (keys, reversed(keys)):
        state = tmp_path / own.peer.short
        state.mkdir()
        argv = p2p_peer("token", own.pair, other.public, "--state-dir", state, *HERE)
        people.append(programs.enter_context(Terminal(argv, state)))
    tokens = []
    for terminal in people:
        terminal.shows("paste the other side's token")
        [token] = codes_in(terminal, theme)
        parse(token)
        tokens.append(token)
    alice, bob = people
    alice.types(tokens[1])
    bob.types(tokens[0])
    for terminal in people:
        terminal.shows("type a message, or /help")
    alice.types("hello")
    bob.shows("> hello")
    alice.types("/quit")
    assert [terminal.process.wait(PATIENCE) for terminal in people] == [0, 0]


@pytest.mark.parametrize("theme", Theme)
def test_the_longest_token_fits(theme: Theme, keys: tuple[Keys, Keys], programs: Programs, tmp_path: Path) -> None:
    own, other = keys
    arguments = ["token", str(own.pair), str(other.public), "--state-dir", str(tmp_path), *HERE]
    terminal = programs.enter_context(Terminal([sys.executable, "-c", CROWDED, *arguments], tmp_path))
    terminal.shows("paste the other side's token")
    [token] = codes_in(terminal, theme)
    assert len(parse(token).text) == LONGEST
