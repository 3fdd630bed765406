"""A man in the middle of a channel on TLS who wants to resume another one, or to have data sent before the handshake.

OpenSSL sends session tickets, see `p2p_peer.channel.tls`: he has them, tries them, and nothing stands behind them.
"""

import contextlib
import socket
from pathlib import Path

import pytest
from OpenSSL import SSL
from p2p_core.errors import ConnectionLost, ProofFailed
from p2p_core.proof import PathKind, Role
from p2p_core.wire.frames import KeyProof, Ping, encode
from p2p_peer.channel import openssl
from p2p_peer.channel import tls as tls_module
from p2p_peer.channel.certificate import ThrowawayCertificate
from p2p_peer.channel.channel import until
from p2p_peer.channel.stream import Wait
from p2p_peer.channel.tls import TlsSocket
from p2p_peer.paths.base import Path as PeerPath

from tests.attack.hellos import EARLY_DATA, KEY_SHARE, PRE_SHARED_KEY, extensions
from tests.attack.middle import Impostor, carried
from tests.attack.test_middle_tls import PROOF_FRAME, attacked, each_kind, establishing
from tests.attack.victims import soon
from tests.peer.pair import socket_paths

pytestmark = pytest.mark.usefixtures("went")
NO_PROOF = encode(KeyProof(bytes(256)))


@each_kind
async def test_tickets_and_early_data(tmp_path: Path, kind: PathKind) -> None:
    """TRIES: waits for a peer to resume TLS by a ticket, or to send data before the handshake, which he could replay.
    OUTCOME: no hello of theirs offers either, the first time or the second: each channel begins anew.
    """
    hellos: list[bytes] = []

    def change(sender: Role, number: int, data: bytes) -> bytes:
        if (sender, number) == (Role.INITIATOR, 0):
            hellos.append(data)
        return data

    for _ in range(2):
        outcome, _ = await attacked(tmp_path, kind, carried(change))
        assert [end.code for end in outcome] == ["", ""]
    assert len(hellos) == 2
    for hello in hellos:
        assert KEY_SHARE in extensions(hello)
        assert not {PRE_SHARED_KEY, EARLY_DATA} & extensions(hello).keys()


# He is the client, and tries what he was given.


@pytest.fixture
def keeps(monkeypatch: pytest.MonkeyPatch) -> SSL.Context:
    """Have his TLS as a client keep tickets, and use them where it is told to; no peer is a client here."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_NONE)
    real = tls_module._context
    monkeypatch.setattr(tls_module, "_context", lambda own: context if own is None else real(own))
    return context


def his_client(session: SSL.Session | None = None) -> tuple[Impostor, PeerPath]:
    """He as a client, who resumes this; the other end of the path."""
    ours, theirs = socket_paths()
    tls = TlsSocket(ours.socket, Role.INITIATOR)
    if session is not None:
        tls._connection.set_session(session)
    return Impostor(tls), theirs


def connection(impostor: Impostor) -> SSL.Connection:
    assert isinstance(impostor.stream, TlsSocket)
    return impostor.stream._connection


async def refused(his: Impostor, responder: PeerPath) -> None:
    """Have him shake hands with an honest responder: its channel ends with his proof, and with nothing before that."""
    honest = establishing(responder, Role.RESPONDER)
    await soon(his.say(NO_PROOF))
    with pytest.raises(ProofFailed, match="did not prove that it has the expected key"):
        await soon(honest)


async def test_a_ticket_of_a_responder(keeps: SSL.Context) -> None:
    """TRIES: keeps the ticket that a responder's TLS sends, and resumes with it on the next channel.
    OUTCOME: a full handshake, with a certificate of its own: no session is kept behind a ticket.
    """
    first, responder = his_client()
    lasting = establishing(responder, Role.RESPONDER)
    await soon(first.shake_hands())
    await soon(first.read(PROOF_FRAME))
    await soon(until(first.stream, Wait.READ))
    assert first.stream.read_into(memoryview(bytearray(1))) is None  # that was the ticket
    second, responder = his_client(connection(first).get_session())
    second.stream.handshake_to_binding()
    assert PRE_SHARED_KEY in extensions(responder.socket.recv(2**16, socket.MSG_PEEK))
    await refused(second, responder)
    assert not SSL._lib.SSL_session_reused(connection(second)._ssl)
    assert connection(first).get_peer_certificate() != connection(second).get_peer_certificate()
    first.stream.close()
    with pytest.raises(ConnectionLost):
        await soon(lasting)


class Generous:
    """A server of his own that takes early data (RFC 8446 §4.2.10)."""

    def __init__(self) -> None:
        certificate = ThrowawayCertificate.make()
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.use_certificate(certificate.certificate)
        self._context.use_privatekey(certificate.key)
        SSL._lib.SSL_CTX_set_max_early_data(self._context._context, 2**14)

    def accepting(self) -> SSL.Connection:
        """A connection of which nothing has come yet."""
        server = SSL.Connection(self._context)
        server.set_accept_state()
        return server

    def ticket_for(self, context: SSL.Context) -> SSL.Session:
        """One that a client of this context may use."""
        client, server = SSL.Connection(context), self.accepting()
        client.set_connect_state()
        for _ in range(2):
            for one, other in ((client, server), (server, client)):
                with contextlib.suppress(SSL.WantReadError):
                    one.do_handshake()
                with contextlib.suppress(SSL.WantReadError):
                    other.bio_write(one.bio_read(2**16))
        with contextlib.suppress(SSL.WantReadError):
            client.recv(1)  # takes the ticket in
        session = client.get_session()
        for end in (client, server):
            end.set_shutdown(SSL.SENT_SHUTDOWN)  # OpenSSL spoils a session whose connection just goes away
        assert session is not None
        return session


async def test_early_data_under_a_ticket_of_his_own(keeps: SSL.Context) -> None:
    """TRIES: sends a frame before the handshake, under a ticket for early data that another server gave him.
    OUTCOME: it is passed over, and the handshake is a full one; a server that takes early data reads it.
    """
    generous = Generous()
    session = generous.ticket_for(keeps)
    his, responder = his_client(session)
    openssl.write_behind_finished(connection(his), encode(Ping(1)))
    said = responder.socket.recv(2**16, socket.MSG_PEEK)
    assert {PRE_SHARED_KEY, EARLY_DATA} <= extensions(said).keys()
    there = generous.accepting()
    there.bio_write(said)
    assert not openssl.accept_until_finished(there)  # early data has come
    await refused(his, responder)
    assert not SSL._lib.SSL_session_reused(connection(his)._ssl)
