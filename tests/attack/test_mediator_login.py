"""A malicious mediator that lies about who it is, or makes something else of how a peer logs in."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from p2p_core.errors import ProofFailed
from p2p_core.proof import Role
from p2p_core.wire.frames import KeyProof, encode
from p2p_peer import Paths
from p2p_peer.channel.channel import establish
from p2p_peer.channel.tls import TlsSocket
from p2p_proto import mediator_pb2 as pb

from tests.attack.malicious_mediator import MaliciousMediator
from tests.attack.middle import Impostor
from tests.attack.victims import Victim, connected, soon, until
from tests.keys import key
from tests.lasting_ports import lasting_ports
from tests.peer.a_mediator import real_mediator
from tests.peer.pair import agreement, own_key, socket_paths
from tests.peer.tls_server import shown
from tests.server import client

pytestmark = pytest.mark.usefixtures("went")
WAIT = {"wait": 0.2}


async def test_a_login_relayed_to_another_mediator(tmp_path: Path) -> None:
    """TRIES: has a peer that logs in answer the challenge of another mediator, and logs in there in its name.
    OUTCOME: the other mediator does not admit it: the proof holds for the certificate that the peer was shown.
    """
    async with real_mediator(tmp_path) as honest:
        posing = client.Peer(honest, key(5))

        async def challenge(hello: pb.Hello) -> bytes:
            await posing.send(hello=hello)
            return bytes((await posing.read("challenge")).nonce)

        async with MaliciousMediator(challenge=challenge).open() as mediator:
            end = await Victim(0, 1, tmp_path, WAIT).meet(mediator.port)
        assert end.code == "peer-did-not-come"  # as far as it knows, it was admitted
        await posing.send(proof=mediator.guests[0].proof)
        refused = await posing.end()
        await posing.close()
    assert refused.reason == "not-admitted"


async def test_the_same_challenge_each_time(tmp_path: Path) -> None:
    """TRIES: gives a peer the same challenge at each login, to collect a proof that holds twice.
    OUTCOME: the peer adds a nonce of its own: no two proofs, and no two nonces, are alike.
    """
    async with MaliciousMediator().open() as mediator:
        for _ in range(3):
            assert (await Victim(0, 1, tmp_path, WAIT).meet(mediator.port)).exit_code == 5
    assert len({guest.proof.signature for guest in mediator.guests}) == 3
    assert len({guest.hello.nonce for guest in mediator.guests}) == 3


@pytest.mark.parametrize("role", Role, ids=lambda role: role.value)
async def test_a_login_used_as_a_proof_to_a_peer(tmp_path: Path, role: Role) -> None:
    """TRIES: ends a peer's TLS as if it were the other peer, and shows what the other peer proved at its login.
    OUTCOME: proof-failed: a proof says what it is for.
    """
    number = 1 if role is Role.INITIATOR else 0  # the test key of who would be there
    async with MaliciousMediator().open() as mediator:
        await Victim(number, 1 - number, tmp_path, WAIT).meet(mediator.port)
    login = mediator.guests[0].proof.signature
    paths = dict(zip((Role.INITIATOR, Role.RESPONDER), socket_paths(), strict=True))
    impostor = asyncio.create_task(
        Impostor(TlsSocket(paths[role.other].socket, role.other)).say(encode(KeyProof(login)))
    )
    with pytest.raises(ProofFailed):
        await soon(establish(paths[role], agreement(role), own_key(role), own_key(role.other).public_key()))
    await soon(impostor)


async def test_another_key_than_before(tmp_path: Path) -> None:
    """TRIES: takes the place of a mediator that a peer remembers, with a key of its own.
    OUTCOME: mediator-key-changed before anything was said: not even which key the peer has.
    """
    async with MaliciousMediator(port=lasting_ports(1)).open() as first:
        assert (await Victim(0, 1, tmp_path, WAIT).meet(first.port)).exit_code == 5
    async with MaliciousMediator(port=first.port, shows=shown()).open() as second:
        end = await Victim(0, 1, tmp_path, WAIT).meet(second.port)
    assert (end.code, end.exit_code) == ("mediator-key-changed", 4)
    assert second.guests == []


async def test_another_key_while_a_peer_waits(tmp_path: Path) -> None:
    """TRIES: ends the stream of a peer that waits, and answers with another key when it comes again.
    OUTCOME: mediator-key-changed; nothing is said to the new one.
    """

    async def begin(guest: object) -> None:
        welcomed.set()

    welcomed = asyncio.Event()
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(MaliciousMediator(begin=begin, port=lasting_ports(1)).open())
        waiting = asyncio.create_task(Victim(0, 1, tmp_path).meet(first.port))
        await soon(welcomed.wait())
        await stack.aclose()
    async with MaliciousMediator(port=first.port).open() as second:
        end = await soon(waiting)
    assert (end.code, end.exit_code) == ("mediator-key-changed", 4)
    assert second.guests == []


async def test_another_key_while_a_session_goes_on(tmp_path: Path) -> None:
    """TRIES: ends all streams of a session that it relays, and answers with another key when the two come again.
    OUTCOME: mediator-key-changed for both, once the channel is lost; nothing is said to the new one.
    """
    welcome = pb.Welcome(relays=True)
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(MaliciousMediator(welcome=welcome, port=lasting_ports(1)).open())
        pair = await stack.enter_async_context(connected(first.port, tmp_path, paths=Paths.RELAY_ONLY))
        await pair[0].says("before", pair[1])
        await first.stop()
        second = await stack.enter_async_context(MaliciousMediator(welcome=welcome, port=first.port).open())
        await until(lambda: all(victim.ended for victim in pair))
        assert [victim.ended.code for victim in pair if victim.ended] == ["mediator-key-changed"] * 2
        assert second.guests == []


async def test_a_downgrade_to_plaintext(tmp_path: Path) -> None:
    """TRIES: answers without TLS where a mediator with TLS was, and listens to what the peer says.
    OUTCOME: mediator-unreachable; the peer says nothing but the beginning of TLS, which names no key.
    """
    async with MaliciousMediator(port=lasting_ports(1)).open() as first:
        assert (await Victim(0, 1, tmp_path, WAIT).meet(first.port)).exit_code == 5
    heard = bytearray()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.extend(await reader.read(4096))
        writer.write(b"\0\0\0\4\0\0\0\0\0")  # as HTTP/2 begins
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", first.port)
    end = await Victim(0, 1, tmp_path, WAIT).meet(first.port)
    server.close()
    await server.wait_closed()
    assert (end.code, end.exit_code) == ("mediator-unreachable", 3)
    assert heard[:2] == b"\x16\x03"  # RFC 8446 §5.1: a handshake record, and so is the rest
    assert first.guests[0].hello.public_key not in heard
