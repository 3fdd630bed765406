"""Every way a `Meet` or `Relay` stream ends: a gRPC status code, a stable reason for programs, a sentence for people.

docs/protocol/mediator.md has the same table, and a test holds the two together.
"""

from enum import Enum

import grpc

__all__ = ["REASON_KEY", "Ending", "StreamEnded"]

REASON_KEY = "punchwire-reason"  # the trailing metadata that carries the reason


class Ending(Enum):
    """Why the mediator ended a stream. The value is the reason."""

    code: grpc.StatusCode
    sentence: str

    def __new__(cls, reason: str, code: grpc.StatusCode, sentence: str) -> "Ending":
        """Make a member whose value is its reason."""
        member = object.__new__(cls)
        member._value_ = reason
        member.code = code
        member.sentence = sentence
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
        "too many peers are proving themselves at once; try again in a moment",
    )
    TOO_MANY_ADVERTISEMENTS = (
        "too-many-advertisements",
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "this peer waits for, or is matched with, as many others as it may",
    )
    TOO_SLOW = ("too-slow", grpc.StatusCode.RESOURCE_EXHAUSTED, "the peer does not read what is sent to it")
    REPLACED = ("replaced", grpc.StatusCode.ABORTED, "a newer stream of the same key took this one's place")
    RELAY_OFF = ("relay-off", grpc.StatusCode.FAILED_PRECONDITION, "this mediator relays nothing")
    RELAY_TICKET = (
        "relay-ticket",
        grpc.StatusCode.PERMISSION_DENIED,
        "the ticket is none of this mediator's, or was used before, or is too old",
    )
    RELAY_LIMIT = ("relay-limit", grpc.StatusCode.RESOURCE_EXHAUSTED, "the relay's limit is reached")
    RELAY_PEER_GONE = ("relay-peer-gone", grpc.StatusCode.ABORTED, "the other peer is gone, or did not come")
    RELAY_IDLE = ("relay-idle", grpc.StatusCode.DEADLINE_EXCEEDED, "nothing was relayed for too long")
    SHUTTING_DOWN = ("shutting-down", grpc.StatusCode.UNAVAILABLE, "the mediator is shutting down; try again")
    INTERNAL = ("internal", grpc.StatusCode.INTERNAL, "the mediator failed; its log says why")

    @property
    def reason(self) -> str:
        """The stable word for programs."""
        return str(self.value)


class StreamEnded(Exception):
    """Ends the stream it is raised in. The detail, if there is one, takes the place of the ending's sentence."""

    def __init__(self, ending: Ending, detail: str = "") -> None:
        super().__init__(detail or ending.sentence)
        self.ending = ending
