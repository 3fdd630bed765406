"""No parser is left out of the table: what is named like one is some target's, or it stands here why it is none."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
PACKAGES = ("core/p2p_core", "server/p2p_server", "peer/p2p_peer")
LIKE_A_PARSER = re.compile(
    r"(parse|decode|read|unpack|open|load|from|split|canonical|choice)(_\w+)?|\w+_received|receive", re.ASCII
)

NO_PARSERS = {
    "opens what is ours: a folder, a port, a connection": (
        "p2p_core.wire.frame_reader.FrameReader.open",
        "p2p_peer.gather.port_mapping.questions.Questions.open",
        "p2p_peer.gather.punch_port.PunchPort.open",
        "p2p_peer.gather.udp_socket.UdpSocket.open",
        "p2p_peer.mediation.Mediation.open",
        "p2p_peer.mediator_channel.open_channel",
        "p2p_peer.serverless.token_ports.Ports.open",
        "p2p_peer.transfer.archive.Archive.open_journal",
        "p2p_peer.transfer.places.Folder.open",
        "p2p_peer.transfer.places.Output.open",
        "p2p_peer.transfer.places.Place.open",
        "p2p_peer.transfer.staging.Staging.open",
        "p2p_peer.transfer.tree.OpenFolders.open_file",
        "p2p_server.inbox.Inbox.open",
        "p2p_server.stores.redis_link.Link.open",
        "p2p_server.tls.load_or_create",
    ),
    "moves bytes that another one reads": (
        "p2p_peer.channel.channel.read_frame",  # frame-reader
        "p2p_peer.channel.openssl.read_into",
        "p2p_peer.channel.pump.FrameHandler.frame_received",
        "p2p_peer.channel.quic.QuicStream.read_into",
        "p2p_peer.channel.quic_socket.QuicSocket.receive",  # quic
        "p2p_peer.channel.stream.Stream.read_into",
        "p2p_peer.channel.tls.TlsSocket.read_into",
        "p2p_peer.channel.unread.Unread.read_into",
        "p2p_peer.gather.port_mapping.questions.Questions.datagram_received",  # pcp, nat-pmp
        "p2p_peer.gather.port_mapping.questions.Questions.error_received",
        "p2p_peer.gather.port_mapping.ssdp._Search.datagram_received",  # ssdp
        "p2p_peer.paths.relay._RelayStream.read",  # relayed
        "p2p_peer.private_file.PrivateFile.read",
        "p2p_peer.regular_files.open_regular",
        "p2p_peer.regular_files.read_start",
        "p2p_peer.serverless.token.TokenMeeting.read",  # token-text, token-opened
        "p2p_peer.serverless.token.read_token",
        "p2p_peer.transfer.journal.Journal.open",  # journal, journal-records
        "p2p_peer.transfer.received_journal.ReceivedJournal.open",
        "p2p_peer.transfer.sent_journal.SentJournal.open",
        "p2p_server.files.read",
        "p2p_server.metrics_endpoint._Connection.data_received",  # metrics-request
        "p2p_server.stores.redis_link.Link.read",  # redis-event
        "p2p_server.stream.Stream.read_bytes",
        "p2p_server.stun_responder._Connection.data_received",  # stun-connection
    ),
    "reads the content of files that are sent, whatever it is": (
        "p2p_peer.transfer.source_file.SourceFile.read",
        "p2p_peer.transfer.source_file.SourceFile.read_again",
        "p2p_peer.transfer.stdin_source.StdinSource.read",
    ),
    "takes what the user of this program says to it, by argparse": (
        "p2p_peer.cli.parser.parse",
        "p2p_server.flags.from_environment",
    ),
    "takes a record that `journal` has read, or packets that `probe` has": (
        "p2p_core.machines.udp_punch.UdpPunch.receive",
        "p2p_core.wire.journal.JournalReader.receive",
    ),
    "is part of this program": (
        "p2p_core.machines.choosing.Choosing.choice",
        "p2p_server.stores.redis_scripts.Script.load",
    ),
}
"""Why, and what."""


def functions(node: ast.AST, name: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef):
            yield from functions(child, f"{name}.{child.name}")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and LIKE_A_PARSER.fullmatch(child.name):
            yield f"{name}.{child.name}"


def named_like_parsers() -> set[str]:
    found: set[str] = set()
    for package in PACKAGES:
        folder = ROOT / package
        for path in folder.rglob("*.py"):
            module = path.relative_to(folder.parent).with_suffix("").parts
            found.update(functions(ast.parse(path.read_text("utf-8")), ".".join(module)))
    return found


def test_every_parser_is_fed() -> None:
    fed = {name for target in TARGETS.values() for name in target.of}
    excused = {name for names in NO_PARSERS.values() for name in names}
    parsers = named_like_parsers()
    assert parsers - fed - excused == set(), "of no target in tests/fuzz/targets"
    assert excused - parsers == set(), "is there no more"


def test_what_is_fed_is_there() -> None:
    for target in TARGETS.values():
        for name in target.of:
            module, *rest = _split(name)
            thing = importlib.import_module(module)
            for part in rest:
                thing = getattr(thing, part)


def _split(name: str) -> list[str]:
    """Return the module that `name` begins with, and the names behind it."""
    parts = name.split(".")
    count = next(count for count in range(len(parts), 0, -1) if _is_module(".".join(parts[:count])))
    return [".".join(parts[:count]), *parts[count:]]


def _is_module(name: str) -> bool:
    return (ROOT / _folder_of(name) / Path(*name.split("."))).with_suffix(".py").is_file()


def _folder_of(name: str) -> str:
    return {"p2p_core": "core", "p2p_server": "server", "p2p_peer": "peer"}[name.split(".", maxsplit=1)[0]]
