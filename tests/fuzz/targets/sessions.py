"""What a peer says that has proved its key: frames that a session hears, in any order, and the QUIC below it."""

import contextlib
from collections.abc import Iterator

from p2p_core import limits
from p2p_core.errors import Malformed, RemoteProtocolError
from p2p_core.machines.events import MessageReceived, StreamEnded, TransferArrived, TransferOffered
from p2p_core.machines.session import SessionMachine
from p2p_core.manifest import Manifest
from p2p_core.proof import Role, sign
from p2p_core.statements import Speaker
from p2p_core.wire import frames
from p2p_core.wire.frames import (
    BLOCKS_FIXED_BYTES,
    HEADER_BYTES,
    BlocksHeader,
    Close,
    Entries,
    Frame,
    Kind,
    TextMessage,
)
from p2p_peer.channel.certificate import ThrowawayCertificate
from p2p_peer.channel.quic_connection import DATAGRAM_SIZE, Connection, configuration
from p2p_peer.channel.unread import Unread
from p2p_peer.cli.offer_text import choice, items_to_choose

from tests.core.two_peers import INITIATOR_KEY, RESPONDER_KEY, agreement
from tests.fuzz.shapes import framed, text_of, unframed
from tests.fuzz.target import Target
from tests.vectors.made.session import FRAMES as SESSION_FRAMES
from tests.vectors.made.transfer import FRAMES as TRANSFER_FRAMES

_HELD = agreement(Role.INITIATOR)
_OTHER = Speaker.of(_HELD, Role.RESPONDER)
_TEXTS = {1: "first", 2: "second"}
_MESSAGES = [
    TextMessage(number, 0, text, sign(RESPONDER_KEY, _OTHER.message(number, 0, text)))
    for number, text in _TEXTS.items()
]
_MOST = 40  # frames
_STEP = 0.5  # s between two


def _header(body: bytes) -> BlocksHeader:
    fixed = body[:BLOCKS_FIXED_BYTES].ljust(BLOCKS_FIXED_BYTES, b"\0")
    return BlocksHeader.read(fixed, bytes(BlocksHeader.count_in(fixed) * limits.HASH_BYTES))


def _heard(data: bytes) -> list[MessageReceived]:
    """Hear frames, each a kind and a body; return the messages that are shown."""
    machine, now, shown = SessionMachine(_HELD, INITIATOR_KEY, RESPONDER_KEY.public_key(), 0.0), 0.0, []
    for frame in list(unframed(data))[:_MOST]:
        if machine.is_closed:
            break
        now += _STEP
        kind, body = frame[0] if frame else 0, frame[1:]
        frames.parse_header(frames.frame_header(kind, len(body)))
        machine.heard(now)
        if kind == Kind.BLOCKS:
            header = _header(body)
            if machine.blocks_start(header):
                machine.blocks_end(header.transfer)
                machine.verified(header.transfer, header.first + header.count)
        elif not frames.may_be_ignored(kind):
            machine.receive(frames.decode(kind, body), now)
        shown += _answered(machine, now)
    return shown


def _answered(machine: SessionMachine, now: float) -> Iterator[MessageReceived]:
    """Do what a session does of which somebody takes everything."""
    while (event := machine.next_event()) is not None:
        match event:
            case TransferOffered(transfer):
                machine.accept(transfer)
            case TransferArrived(transfer, end):
                machine.stored(transfer, end.root, (), 0)
            case MessageReceived():
                yield event
            case StreamEnded():
                pass
    if (due := machine.deadline()) is not None and due <= now:
        machine.on_deadline(now)
    answers = 0
    while (frame := machine.next_frame()) is not None:
        answers += 1
        frames.encode(frame)
        if isinstance(frame, Close):
            machine.close_went_out(now)
    assert answers <= 20, "one frame has many answers"


def _shown_once_and_signed(shown: list[MessageReceived]) -> None:
    assert [(message.sequence, message.text) for message in shown] == list(_TEXTS.items())[: len(shown)]


def _said(*said: Frame) -> list[bytes]:
    return [bytes([whole[HEADER_BYTES - 1]]) + whole[HEADER_BYTES:] for whole in map(frames.encode, said)]


def _talks() -> list[bytes]:
    listed = TRANSFER_FRAMES["frame-entries"]
    assert isinstance(listed, Entries)
    offer = _said(frames.TransferOffer(2, len(listed.entries), 12, 4096), Entries(2, listed.entries))
    blocks = b"\x40" + frames._BLOCKS.pack(2, 0, 12, 2)
    return [
        framed(_said(_MESSAGES[0], _MESSAGES[0], _MESSAGES[1], Close())),
        framed([*offer, blocks, *_said(frames.StreamEnd(2, 0), frames.TransferEnd(2, bytes(32), (), bytes(256)))]),
        framed([*offer, *_said(frames.Have(2, 0, bytes(64)), frames.FileFailed(2, 1, "gone"), frames.Cancel(2, "no"))]),
        framed(_said(frames.Ping(1), frames.Pong(1, 0), frames.Done(), Close("bye"))),
        *(framed(_said(frame)) for frame in (*SESSION_FRAMES.values(), *TRANSFER_FRAMES.values())),
    ]


def _chosen(data: bytes) -> tuple[int, ...] | None:
    manifest = Manifest()
    listed = TRANSFER_FRAMES["frame-entries"]
    assert isinstance(listed, Entries)
    for entry in listed.entries:
        manifest.add(entry)
    return choice(text_of(data), items_to_choose(manifest))


def _chosen_are_there(chosen: tuple[int, ...] | None) -> None:
    assert chosen is None or (chosen and list(chosen) == sorted(set(chosen)))


_CLIENT = ("192.0.2.1", 9)
_SERVER_SETTINGS = configuration(ThrowawayCertificate.make(), finds_mtu=False)


def _quic(data: bytes) -> bool:
    """A server hears datagrams of whoever found its port; return whether there is a connection.

    What qh3 raises is answered by ending the connection (`QuicStream`), so any `Exception` is as good as a refusal.
    """
    connection = None
    with contextlib.suppress(Exception):
        for datagram in unframed(data):
            if connection is None:
                connection = Connection.of(datagram, _CLIENT, _SERVER_SETTINGS, Unread(), 0.0)
            elif datagram:
                connection.receive(datagram, len(datagram), _CLIENT, 0.1)
        if connection is not None:
            connection.take_events()
            connection.datagrams_to_send(0.2)
    return connection is not None


def _quic_datagrams() -> list[bytes]:
    client = Connection.to(_CLIENT, configuration(None, finds_mtu=False), Unread(), 0.0)
    sent = [data for data, _ in client.datagrams_to_send(0.0)]
    return [framed(sent), framed([b"\xc0\0\0\0\1\x08" + bytes(DATAGRAM_SIZE)])]


TARGETS = (
    Target(
        name="session",
        of=(
            "p2p_core.machines.session.SessionMachine.receive",
            "p2p_core.wire.frames.decode",
            "p2p_peer.session_driver.SessionDriver.frame_received",
        ),
        parse=_heard,
        raises=(Malformed, RemoteProtocolError),
        seeds=_talks,
        holds=_shown_once_and_signed,
    ),
    Target(
        name="choice",
        of=("p2p_peer.cli.offer_text.choice",),
        parse=_chosen,
        seeds=lambda: [b"1", b"1,2", b"1-3 2", "1-٣".encode(), b"x"],
        holds=_chosen_are_there,
    ),
    Target(
        name="quic",
        of=("p2p_peer.channel.quic_connection.Connection.of", "p2p_peer.channel.quic_connection.Connection.receive"),
        parse=_quic,
        seeds=_quic_datagrams,
    ),
)
