"""File descriptors: as many connections as there are of them, and no more.

gRPC waits a second and tries again where there is none for a connection that comes. But a peer whose key cannot be read
has to come again: a flood of connections must not take the last one.

An exchange of the certificate makes another gRPC server, which may have as many connections again while the one before
fades. That is not reckoned with: it would halve what there is room for all the time.
"""

import logging
import resource
from dataclasses import replace

from p2p_server.limits import Limits
from p2p_server.logs import fields

__all__ = ["fit", "raise_limit"]

# Keys and certificates being read, listening sockets, the store, whoever asks for metrics, and gRPC's own.
_RESERVE = 128

_log = logging.getLogger(__name__)


def raise_limit() -> int | None:
    """Let this process open as many files as it may ask for; return how many, None for no limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS takes no more than the kernel has, whatever it says of the limit
        hard = soft
    return None if hard == resource.RLIM_INFINITY else hard


def fit(limits: Limits, *, stun: bool, files: int | None) -> Limits:
    """Return `limits`, with fewer connections if they would need more than `files`. That is told: as a warning if
    somebody asked for so many.

    Peers and STUN (where it is answered) have half each, and what the other one does not want.
    """
    wanted = limits.stun_connections if stun else 0
    if files is None or limits.max_connections + wanted + _RESERVE <= files:
        return limits
    room = max(2, files - _RESERVE)
    for_stun = min(wanted, max(room // 2, room - limits.max_connections))
    fitting = replace(limits, max_connections=room - for_stun, stun_connections=for_stun)
    _log.log(
        logging.INFO if limits.max_connections == Limits().max_connections else logging.WARNING,
        "at most so many connections are taken, as no more files may be opened (ulimit -n, LimitNOFILE=)",
        extra=fields(event="few-files", files=files, connections=room - for_stun, stun_connections=for_stun),
    )
    return fitting
