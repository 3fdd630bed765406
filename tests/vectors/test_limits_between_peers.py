"""The numbers in the tables of limits of what two peers say to each other are those that the programs hold to."""

import pytest
from p2p_core import limits, packet_budget, targets
from p2p_core.machines import port_guessing, tcp_punch, transfers, udp_punch
from p2p_core.wire import pcp, punch_record, stun
from p2p_peer import keeper, mediator
from p2p_peer.channel import channel, pump, quic_connection
from p2p_peer.serverless import connections

from tests.vectors import tables
from tests.vectors.test_limits import numbers

PUNCHING = {
    "candidates in an offer": (limits.MAX_CANDIDATES,),
    "addresses dialled, and probed, of one offer": (targets.MAX_TARGETS,),
    "addresses learned from probes": (udp_punch.MAX_LEARNED,),
    "connections accepted and not chosen": (tcp_punch.MAX_CONNECTIONS,),
    "packets without an answer to one host": (packet_budget.MAX_UNANSWERED, packet_budget.SILENCE / 60),
    "IP addresses so counted": (packet_budget.MAX_ADDRESSES,),
    "sockets opened for guesses, at once": (port_guessing.SOCKETS,),
    "a preamble, a probe": (punch_record.RECORD_BYTES,),
    "a STUN message": (stun.MAX_MESSAGE_BYTES,),
    "a PCP message": (pcp.MAX_MESSAGE_BYTES,),
}
CHANNEL = {
    "a frame before the proof": (limits.MAX_PROOF_FRAME, limits.MAX_INTRODUCTION),
    "TLS and both proofs": (channel.HANDSHAKE_TIME,),
    "the wait for the other's end, when one's own has been sent": (pump.LINGER,),
    "credit over QUIC": (quic_connection.WINDOW,),
    "a QUIC connection without a packet": (quic_connection.IDLE_TIME,),
}
SESSION = {
    "a text": (limits.MAX_TEXT_BYTES, 8),
    "a reason, in any frame": (limits.MAX_REASON_BYTES, 8),
    "a channel asked for, or offered": (limits.MAX_CHANNELS_AHEAD,),
    "answers kept for a side that does not say what has come": (transfers.MAX_UNHEARD,),
    "attempts at once": (keeper.ATTEMPTS_AT_ONCE, keeper.ATTEMPT_EVERY),
    "without a channel": (keeper.RECOVERY_TIME,),
    "until the mediator answers a health check": (mediator.ANSWER_TIME,),
    "without a channel, when the other side has left the mediator": (keeper.GONE_TIME, keeper.RETURN_TIME),
}
TRANSFER = {
    "transfers offered and not over, in one direction": (transfers.MAX_OFFERED,),
    "entries, of one transfer and of all of them together": (limits.MAX_ENTRIES,),
    "names and targets, likewise": (limits.MAX_MANIFEST_BYTES,),
    "folders in one another": (limits.MAX_DEPTH,),
    "a name; a target": (limits.MAX_NAME_BYTES, limits.MAX_TARGET_BYTES),
    "bytes of all files together": (limits.MAX_FILE_BYTES,),
    "blocks": (limits.MAX_BLOCKS,),
    "`block_size`": (limits.MIN_BLOCK_SIZE, limits.MAX_BLOCK_SIZE),
    "blocks in a frame": (limits.MAX_BATCH_BLOCKS, limits.MAX_BLOCK_SIZE),
    "a reason": (limits.MAX_REASON_BYTES,),
}
DIRECT = {
    "addresses of a target": (targets.MAX_TARGETS,),
    "a dial": (connections.DIAL_TIME,),
    "connections accepted and not kept": (connections.MAX_ACCEPTED,),
    "silence on an accepted connection; TLS, introduction and proofs; the wait for CHOSEN": (channel.HANDSHAKE_TIME,),
    "addresses that a user is told of, because whoever came from there was turned away": (connections._MAX_TOLD,),
}


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("punching.md", PUNCHING),
        ("channel.md", CHANNEL),
        ("session.md", SESSION),
        ("transfer.md", TRANSFER),
        ("direct.md", DIRECT),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_numbers_of_a_page(page: str, expected: dict[str, tuple[float, ...]]) -> None:
    assert {row["what"]: numbers(row["at most"]) for row in tables.read(page, "what", "at most")} == expected
