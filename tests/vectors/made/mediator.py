"""Messages of `Meet`, and how a stream ends (mediator.md)."""

import hashlib

from p2p_core.identity import PeerId, public_der
from p2p_core.proof import BindingType, ChannelBinding, PathKind, Purpose, Role, Transcript, prove, verify
from p2p_core.punching import PunchPurpose
from p2p_core.wire import rejoin
from p2p_proto import mediator_pb2 as pb
from p2p_server.endings import Ending, trailing_metadata

from tests.keys import key
from tests.vectors.made.inputs import ISSUED, NONCES, Blocks, of
from tests.vectors.made.punch_keys import punch_key
from tests.vectors.made.randomised import Randomised

PEERS = PeerId.of(key(0).public_key()), PeerId.of(key(1).public_key())
OFFERS = b"\x0a\x0b\x0c", b"\x0d\x0e\x0f"
_SIGNAL = rejoin.encode(7, punch_key(Role.INITIATOR, PunchPurpose.REJOIN))

TO_MEDIATOR = {
    "meet-hello": pb.ToMediator(hello=pb.Hello(version=1, public_key=public_der(key(0).public_key()), nonce=NONCES[0])),
    "meet-advertise": pb.ToMediator(advertise=pb.Advertise(wanted=PEERS[1], offer=OFFERS[0])),
    "meet-withdraw": pb.ToMediator(withdraw=pb.Withdraw(wanted=PEERS[1])),
    "meet-signal-to": pb.ToMediator(signal=pb.Signal(peer=PEERS[1], body=_SIGNAL)),
    "meet-leave": pb.ToMediator(leave=pb.Leave(peer=PEERS[1])),
    "meet-pong": pb.ToMediator(pong=pb.Pong(id=300)),
}
TO_PEER = {
    "meet-challenge": pb.ToPeer(challenge=pb.Challenge(version=1, nonce=NONCES[1])),
    "meet-welcome": pb.ToPeer(
        welcome=pb.Welcome(
            observed=pb.Endpoint(ip=bytes([198, 51, 100, 7]), port=61000),
            stun=[
                pb.StunServer(port=54700, transport=pb.UDP),
                pb.StunServer(host="stun.example", port=54701, transport=pb.TCP),
            ],
            heartbeat_seconds=15,
            unix_seconds=ISSUED,
            relays=True,
        )
    ),
    "meet-match": pb.ToPeer(
        match=pb.Match(
            peer=PEERS[1],
            role=pb.RESPONDER,
            offer=OFFERS[1],
            own_offer_hash=hashlib.sha256(OFFERS[0]).digest(),
            observed=pb.Endpoint(ip=bytes.fromhex("20010db8000000000000000000000001"), port=50000),
            start_after_us=12_500,
            one_way_us=20_000,
            relay_ticket=of(0x41),
            relay_host="m.example",
            relay_port=54700,
        )
    ),
    "meet-signal-from": pb.ToPeer(signal=pb.Signal(peer=PEERS[0], body=_SIGNAL)),
    "meet-left": pb.ToPeer(leave=pb.Leave(peer=PEERS[1])),
    "meet-ping": pb.ToPeer(ping=pb.Ping(id=300)),
}
ENDINGS = {"ending-not-admitted": Ending.NOT_ADMITTED, "ending-shutting-down": Ending.SHUTTING_DOWN}


def _ending(ending: Ending) -> str:
    said = (("grpc-status", str(ending.code.value[0])), ("grpc-message", ending.sentence), *trailing_metadata(ending))
    return " ".join(f"{name}: {value}" for name, value in said)


def blocks() -> Blocks:
    messages = {**TO_MEDIATOR, **TO_PEER}
    return {
        **{name: message.SerializeToString(deterministic=True) for name, message in messages.items()},
        **{name: _ending(ending) for name, ending in ENDINGS.items()},
    }


PROVED = Transcript(
    Purpose.PEER_TO_MEDIATOR,
    Role.INITIATOR,
    PathKind.MEDIATOR,
    ChannelBinding(BindingType.CERTIFICATE, of(0x09)),
    PEERS[0],
    of(0x02),
    *NONCES,
)


def _proof() -> bytes:
    return pb.ToMediator(proof=pb.Proof(signature=prove(key(0), PROVED))).SerializeToString()


def _check_proof(message: bytes) -> None:
    verify(key(0).public_key(), PROVED, pb.ToMediator.FromString(message).proof.signature)


RANDOMISED = {"meet-proof": Randomised(_proof, _check_proof)}
