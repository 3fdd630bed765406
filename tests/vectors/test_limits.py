"""The numbers in the tables of limits are those that the programs hold to."""

import re

import pytest
from p2p_core import limits
from p2p_core.wire import token
from p2p_core.wire.token_text import SealedToken
from p2p_peer import mediator as peers_side
from p2p_server.limits import Limits

from tests.vectors import tables

KIB, MIB, GIB = 1024, 1024**2, 1024**3
UNITS = {"KiB": KIB, "MiB": MIB, "GiB": GIB}
MEDIATOR = Limits()
CHARACTERS = tuple(
    len(SealedToken(0, bytes(16 + content)).text) for content in (token.MIN_CONTENT_BYTES, token.MAX_CONTENT_BYTES)
)

IDENTITY = {
    "modulus": (limits.MIN_KEY_BITS, limits.MAX_KEY_BITS),
    "exponent": (limits.PUBLIC_EXPONENT,),
    "a key on the wire": (limits.MAX_PUBLIC_KEY_BYTES,),
    "a peer id": (limits.PEER_ID_BYTES, 52),
    "a signature": (limits.MIN_KEY_BITS // 8, limits.MAX_SIGNATURE_BYTES),
}
KEY_PROOF = {
    "a nonce, an id, a session id, an offer's hash": (limits.NONCE_BYTES,),
    "a proof": (limits.MIN_KEY_BITS // 8, limits.MAX_SIGNATURE_BYTES, limits.MAX_PROOF_FRAME),
    "time for both proofs, and for each step with the mediator": (MEDIATOR.handshake_timeout,),
}
OFFER = {
    "a sealed offer": (limits.MAX_OFFER_BYTES,),
    "the life of an offer": (1, limits.MAX_OFFER_LIFE, 300),
    "between the end of one offer and the issue of the other": (limits.MAX_CLOCK_SKEW,),
    "candidates": (limits.MAX_CANDIDATES,),
    "nonce, share, session id": (limits.SHARE_BYTES,),
    "channels that an offer may be ahead": (limits.MAX_CHANNELS_AHEAD,),
}
TOKEN = {
    "a life": (1, token.MAX_LIFE),
    "a clock behind the sender's": (limits.MAX_CLOCK_SKEW,),
    "a content": (token.MIN_CONTENT_BYTES, token.MAX_CONTENT_BYTES, token.MAX_ADDRESSES_BYTES),
    "a text": CHARACTERS,
}
MEET = {
    "a gRPC message to the mediator": (MEDIATOR.max_message, limits.MAX_RELAY_DATA_BYTES, 64),
    "one to a peer": (peers_side._MAX_MESSAGE,),
    "an offer, the body of a signal": (limits.MAX_OFFER_BYTES,),
    "peers one stream waits for or is matched with": (MEDIATOR.max_advertisements,),
    "bytes waiting for a peer that does not read": (MEDIATOR.outgoing_bytes,),
    "connections": (MEDIATOR.max_connections, MEDIATOR.connection_idle),
    "streams of `Meet` and `Relay` begun from one address": (
        MEDIATOR.handshakes_per_second,
        MEDIATOR.handshakes_at_once,
    ),
    "streams of one key": (MEDIATOR.streams_per_minute, MEDIATOR.streams_at_once),
    "`Advertise`, `Withdraw` and `Leave` on one stream, together": (MEDIATOR.steps_per_second, MEDIATOR.steps_at_once),
    "signals on one stream": (MEDIATOR.signals_per_second, MEDIATOR.signals_at_once),
    "streams without a key proved or a ticket taken": (
        MEDIATOR.max_unauthenticated,
        MEDIATOR.max_unauthenticated_per_address,
    ),
    "STUN over TCP": (MEDIATOR.stun_connections, MEDIATOR.stun_connections_per_address, MEDIATOR.stun_idle),
    "STUN over UDP": (MEDIATOR.stun_requests_per_second, MEDIATOR.stun_requests_at_once),
}
RELAY = {
    "bytes/s each way of one relay, one second of it at once": (MEDIATOR.relay_rate,),
    "bytes between two peers in a day, both ways and all their relays together": (MEDIATOR.relay_bytes,),
    "bytes/s that one peer sends, in all its relays": (MEDIATOR.relay_key_rate / MEDIATOR.relay_rate,),
    "bytes that one peer sends in a day, to all others": (MEDIATOR.relay_key_bytes / MEDIATOR.relay_bytes,),
    "bytes/s of all relays of an instance": (MEDIATOR.relay_total_rate,),
    "bytes of all relays of an instance in a day": (MEDIATOR.relay_total_bytes,),
    "relays of one peer": (MEDIATOR.max_relays_per_key,),
    "relays": (MEDIATOR.max_relays,),
    "a relay on which nothing is said": (MEDIATOR.relay_idle,),
    "data in one message": (limits.MAX_RELAY_DATA_BYTES,),
}


def numbers(cell: str) -> tuple[int, ...]:
    """Return the numbers that a cell says, in bytes where they have a unit."""
    found = re.findall(r"(?<![\w/])(\d+(?: \d{3})*)(?: ([KMG]iB))?(?!\w)", cell)
    return tuple(int(digits.replace(" ", "")) * UNITS.get(unit, 1) for digits, unit in found)


@pytest.mark.parametrize(
    ("page", "heads", "expected"),
    [
        ("identity.md", ("what", "number"), IDENTITY),
        ("key-proof.md", ("what", "number"), KEY_PROOF),
        ("offer.md", ("what", "number"), OFFER),
        ("token.md", ("what", "number"), TOKEN),
        ("mediator.md", ("what", "at most"), MEET),
        ("relay.md", ("what", "at most", "flag"), RELAY),
    ],
    ids=["identity", "key-proof", "offer", "token", "mediator", "relay"],
)
def test_the_numbers_of_a_page(page: str, heads: tuple[str, ...], expected: dict[str, tuple[float, ...]]) -> None:
    said = {row["what"]: numbers(row[heads[1]]) for row in tables.read(page, *heads)}
    assert {what: said.get(what) for what in expected} == expected
