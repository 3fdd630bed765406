"""Every way a `Meet` or `Relay` stream ends: a gRPC status code, a stable reason for programs, a sentence for people.

docs/protocol/mediator.md has the same table, and a test holds the two together.

Where the mediator has too much to do, or cannot do it now (RESOURCE_EXHAUSTED, UNAVAILABLE), the ending says after how
many seconds it is worth trying again. Nowhere else: there time alone makes nothing better, or it is the peer's own link
that failed, and the peer knows better when that is back. No sentence speaks of it: the peer may well try by itself.
"""

import math
from enum import Enum

import grpc

__all__ = ["REASON_KEY", "RETRY_AFTER_KEY", "Ending", "StreamEnded", "trailing_metadata"]

# The trailing metadata that carries the reason, and the whole seconds to wait, at least 1.
REASON_KEY = "punchwire-reason"
RETRY_AFTER_KEY = "punchwire-retry-after"


class Ending(Enum):
    """Why the mediator ended a stream. The value is the reason."""

    code: grpc.StatusCode
    sentence: str
    retry_after: float | None  # s, where nobody knows better

    def __new__(cls, reason: str, code: grpc.StatusCode, sentence: str, retry_after: float | None = None) -> "Ending":
        """Make a member whose value is its reason."""
        member = object.__new__(cls)
        member._value_ = reason
        member.code = code
        member.sentence = sentence
        member.retry_after = retry_after
        return member

    MALFORMED = ("malformed", grpc.StatusCode.INVALID_ARGUMENT, "a message does not parse as what it should be")
    BAD_KEY = ("bad-key", grpc.StatusCode.INVALID_ARGUMENT, "the public key is not one the mediator accepts")
    TOO_LARGE = ("too-large", grpc.StatusCode.INVALID_ARGUMENT, "a message is larger than allowed")
    ADVERTISED_SELF = ("advertised-self", grpc.StatusCode.INVALID_ARGUMENT, "a peer cannot ask for itself")
    UNSUPPORTED_VERSION = (
        "unsupported-version",
        grpc.StatusCode.FAILED_PRECONDITION,
        "the mediator speaks another version of the protocol",
    )
    OUT_OF_ORDER = ("out-of-order", grpc.StatusCode.FAILED_PRECONDITION, "this step may not be taken now")
    NOT_ADMITTED = ("not-admitted", grpc.StatusCode.UNAUTHENTICATED, "the mediator does not admit this key")
    NOT_YOUR_MATCH = (
        "not-your-match",
        grpc.StatusCode.PERMISSION_DENIED,
        "a signal may go only to a peer this stream was matched with",
    )
    STEP_TIMEOUT = ("step-timeout", grpc.StatusCode.DEADLINE_EXCEEDED, "the next step did not come in time")
    HEARTBEAT_LOST = ("heartbeat-lost", grpc.StatusCode.DEADLINE_EXCEEDED, "the peer did not answer the heartbeat")
    TOO_MANY_HANDSHAKES = (
        "too-many-handshakes",
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "too many peers are proving themselves at once",
        2.0,  # a handshake takes a round trip
    )
    HANDSHAKE_RATE = (
        "handshake-rate",
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "too many streams come from this address",
        1.0,
    )
    TOO_MANY_STREAMS = (
        "too-many-streams",
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "this key opens streams too often",
        10.0,
    )
    TOO_MANY_ADVERTISEMENTS = (
        "too-many-advertisements",
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "this peer waits for, or is matched with, as many others as it may",
        1.0,  # a new stream begins with none
    )
    STEP_RATE = ("step-rate", grpc.StatusCode.RESOURCE_EXHAUSTED, "the peer asks for others too often", 1.0)
    SIGNAL_RATE = ("signal-rate", grpc.StatusCode.RESOURCE_EXHAUSTED, "the peer signals too often", 1.0)
    TOO_SLOW = (
        "too-slow",
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "the peer does not read what is sent to it",
        5.0,  # what is on the way has to arrive first
    )
    REPLACED = ("replaced", grpc.StatusCode.ABORTED, "a newer stream of the same key took this one's place")
    RELAY_OFF = ("relay-off", grpc.StatusCode.FAILED_PRECONDITION, "this mediator relays nothing")
    RELAY_TICKET = (
        "relay-ticket",
        grpc.StatusCode.PERMISSION_DENIED,
        "the ticket is none of this mediator's, or was used before, or is too old",
    )
    RELAY_LIMIT = (
        "relay-limit",
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "the relay's limit is reached",
        60.0,  # until some relay is over; of a day's volume it is known
    )
    RELAY_PEER_GONE = ("relay-peer-gone", grpc.StatusCode.ABORTED, "the other peer is gone, or did not come")
    RELAY_IDLE = ("relay-idle", grpc.StatusCode.DEADLINE_EXCEEDED, "nothing was relayed for too long")
    STORE_UNAVAILABLE = (
        "store-unavailable",
        grpc.StatusCode.UNAVAILABLE,
        "the mediator cannot use its store",
        5.0,  # a Redis that is started again is there in less, and the mediator finds it within a few seconds
    )
    KEYS_UNREADABLE = (
        "keys-unreadable",
        grpc.StatusCode.UNAVAILABLE,
        "the mediator cannot read who is admitted",
        10.0,  # a file server is back in that, or in far more
    )
    SHUTTING_DOWN = (
        "shutting-down",
        grpc.StatusCode.UNAVAILABLE,
        "the mediator is shutting down",
        2.0,  # another instance is there at once, the same one started again in about that
    )
    INTERNAL = ("internal", grpc.StatusCode.INTERNAL, "the mediator failed; its log says why")

    @property
    def reason(self) -> str:
        """The stable word for programs."""
        return str(self.value)


class StreamEnded(Exception):
    """Ends the stream it is raised in. The detail, if there is one, takes the place of the ending's sentence."""

    def __init__(self, ending: Ending, detail: str = "", retry_after: float | None = None) -> None:
        """Say when to try again (s), if that is known better than the ending has it."""
        super().__init__(detail or ending.sentence)
        self.ending = ending
        self.retry_after = retry_after


def trailing_metadata(ending: Ending, retry_after: float | None = None) -> tuple[tuple[str, str], ...]:
    """Return what a stream ends with for programs: the reason, and when to try again (s) where that helps."""
    wait = ending.retry_after if retry_after is None else retry_after
    reason = (REASON_KEY, ending.reason)
    return (reason,) if wait is None else (reason, (RETRY_AFTER_KEY, str(max(1, math.ceil(wait)))))
