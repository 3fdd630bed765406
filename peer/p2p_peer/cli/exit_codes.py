"""Exit codes, one for each thing a script may want to tell apart. The README lists them."""

from p2p_core import errors

__all__ = ["EXIT_CODES", "exit_code"]

EXIT_CODES = {
    0: "done",
    1: "unexpected, or somebody broke a protocol",
    2: "usage, or a key or token that cannot be used",
    3: "the mediator cannot be reached",
    4: "not authenticated: the mediator, the peer, or this peer; a key changed; a token is of another phrase or peer, "
    "or its time is over; this peer was replaced",
    5: "the peer did not come in time",
    6: "no path to the peer, or it was lost",
    7: "files were refused, by the other side or here, or all of them are there already",
    8: "a transfer failed",
    130: "interrupted",
}

_CODES: tuple[tuple[type[errors.PunchwireError], int], ...] = (
    (errors.UsageError, 2),
    (errors.MediatorUnreachable, 3),
    (errors.NotAuthenticated, 4),
    (errors.PeerDidNotCome, 5),
    (errors.NoPath, 6),
    (errors.Refused, 7),
    (errors.AlreadyThere, 7),
    (errors.TransferFailed, 8),
    (errors.Interrupted, 130),
)


def exit_code(error: errors.PunchwireError) -> int:
    """Return the exit code for `error`."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), 1)
