"""How a stream of the mediator's ended, for whom it concerns. docs/protocol/mediator.md has the reasons."""

import grpc
from p2p_core import limits
from p2p_core.errors import MediatorUnreachable, NotAdmitted, PunchwireError, RemoteProtocolError, Replaced

__all__ = ["REASON_KEY", "REASON_LOST", "RELAY_LIMIT", "RETRY_KEY", "clause_of", "error_of"]

REASON_KEY = "punchwire-reason"  # the trailing metadata that carries the reason
RETRY_KEY = "punchwire-retry-after"  # and the one for how many whole seconds the mediator wants to be left alone
MAX_RETRY_AFTER = 300  # s that a mediator is believed, which may be hostile: it can keep us away, but not for ever
# gRPC's details in place of the reason, when a write meets the end of the stream before it is read.
REASON_LOST = "Internal error from Core"
RELAY_LIMIT = "relay-limit"  # the reason that will still hold in a moment
_BROKE = ("Socket closed", "reset by peer", "Broken pipe", "watchdog")  # gRPC's words for a connection that was there
_WENT_AWAY = "the mediator went away"
_AGAIN = "Start again in a moment."
_LATER = (  # the mediator's reasons that say that it is not this program's fault, and may be over soon
    "shutting-down",
    "store-unavailable",
    "keys-unreadable",
    "too-many-handshakes",
    "too-many-streams",
    "handshake-rate",
    "step-rate",
    "signal-rate",
    "step-timeout",
    "heartbeat-lost",
    "too-slow",
)
_OUR_FAULT = (  # the mediator's reasons that say that this program broke its protocol
    "malformed",
    "bad-key",
    "too-large",
    "advertised-self",
    "out-of-order",
    "not-your-match",
    "too-many-advertisements",
)
_REFUSALS = (
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.PERMISSION_DENIED,
)


def error_of(code: grpc.StatusCode, reason: str, details: str, retry_after: str = "") -> PunchwireError:
    """Return the error for a `Meet` stream that ended so: by the mediator's reason, else by gRPC's code.

    `retry_after` is what stood in the trailing metadata.
    """
    error = _error_of(code, reason, details)
    if isinstance(error, MediatorUnreachable):
        error.retry_after = _seconds(retry_after)
    return error


def _error_of(code: grpc.StatusCode, reason: str, details: str) -> PunchwireError:
    if reason in _LATER:
        return MediatorUnreachable(f"the mediator ended the connection: {details}", advice=_AGAIN)
    match reason:
        case "not-admitted":
            return NotAdmitted("the mediator does not admit your key")
        case "replaced":
            return Replaced("another process with the same key took this one's place at the mediator")
        case "unsupported-version":
            return RemoteProtocolError(
                f"the mediator speaks another version: {details}",
                advice=f"This program speaks version {limits.PROTOCOL_VERSION}: whichever is older needs an update.",
            )
        case "internal":
            return MediatorUnreachable(
                f"the mediator ended the connection: {details}", advice="Tell its owner, and start again in a moment."
            )
    if reason in _OUR_FAULT or (not reason and code in _REFUSALS):
        return RemoteProtocolError(f"the mediator refused: {details}")
    if code is grpc.StatusCode.UNIMPLEMENTED:
        return MediatorUnreachable(
            "what answers there is not a mediator: it speaks gRPC, and knows nothing of Punchwire"
        )
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in details:  # found by gRPC on this side
        return RemoteProtocolError("a message larger than any of the protocol").by("the mediator")
    if _went_away(code, details):
        return MediatorUnreachable(_WENT_AWAY, advice="It may be restarting: start again in a minute.")
    return MediatorUnreachable(f"the mediator ended the connection: {_last_error(code, details)}")


def clause_of(code: grpc.StatusCode, reason: str, details: str) -> str:
    """Return a clause for people that says why a `Relay` stream ended so."""
    if reason == "relay-off" or (not reason and code is grpc.StatusCode.UNIMPLEMENTED):
        return "the mediator relays nothing"
    if reason == RELAY_LIMIT:
        return f"the mediator relays no more: {details}"
    if reason or details == REASON_LOST:
        return f"the mediator ended the relay: {details if reason else 'it does not say why'}"
    if code is grpc.StatusCode.OK:
        return "both sides have ended the relay"
    if code is grpc.StatusCode.CANCELLED:
        return "this side has ended the relay"
    if _went_away(code, details):
        return _WENT_AWAY
    return f"the mediator's relay cannot be reached: {_last_error(code, details)}"


def _seconds(text: str) -> float | None:
    """Read whole seconds, 1 or more; None for anything else. What is too large is cut, by digits first."""
    if not (text.isascii() and text.isdigit()):
        return None
    return min(int(text.lstrip("0")[:4] or "0"), MAX_RETRY_AFTER) or None


def _went_away(code: grpc.StatusCode, details: str) -> bool:
    """Tell whether a connection broke, from one that did not come up: of that gRPC names a last error."""
    broke = any(words in details for words in _BROKE)
    return code is grpc.StatusCode.UNAVAILABLE and broke and "last error: " not in details


def _last_error(code: grpc.StatusCode, details: str) -> str:
    """Return the last error of gRPC's, which says more than its first: "failed to ... addresses; last error: ..."."""
    return details.rpartition("last error: ")[2] or code.name
