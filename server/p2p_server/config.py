"""What a mediator is told to do, from flags and environment variables."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from p2p_core.errors import UsageError
from p2p_core.wire.candidate import Transport

from p2p_server.limits import Limits

__all__ = [
    "DEFAULT_DRAIN_SECONDS",
    "DEFAULT_PORT",
    "DEFAULT_STUN_PORT",
    "MEMORY",
    "Config",
    "HostPort",
    "StunServer",
    "default_authorized",
    "default_state_dir",
]

DEFAULT_PORT = 54700
DEFAULT_STUN_PORT = 54701
DEFAULT_DRAIN_SECONDS = 30.0  # a punch that has begun takes 10 s, another path after it 5
MEMORY = "memory"  # the store that is this process


def default_state_dir() -> Path:
    """Return the user's folder for the state of this program (XDG Base Directory Specification).

    Raises `UsageError` for a user without a home folder.
    """
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not base.is_absolute():  # which the specification says to ignore
        try:
            base = Path.home() / ".local" / "state"
        except RuntimeError as error:
            raise UsageError(
                "there is no home folder to keep the mediator's key in", advice="Name a folder for it with --state-dir."
            ) from error
    return base / "punchwire-mediator"


def default_authorized(state_dir: Path) -> Path:
    """Return the folder of authorized keys, where none is named."""
    return state_dir / "authorized"


@dataclass(frozen=True, slots=True)
class HostPort:
    """A TCP port of an address or a name."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class StunServer:
    """A STUN server that peers are told of; an empty host is the one they dialled."""

    host: str
    port: int
    transport: Transport

    def __str__(self) -> str:
        return f"{HostPort(self.host, self.port)}/{self.transport.name.lower()}"


@dataclass(frozen=True, slots=True)
class Config:
    """Where to listen, whom to admit, and what to be known by."""

    state_dir: Path
    authorized: Path | None  # None admits every key that proves itself
    host: str = ""  # empty: all addresses, IPv4 and IPv6
    port: int = DEFAULT_PORT  # 0 lets the system choose
    stun_port: int = DEFAULT_STUN_PORT  # likewise; STUN has the next one as well
    stun_host: str = ""  # a second address, that peers also ask by STUN
    stun: bool = True  # whether to answer STUN at all
    stun_server: tuple[StunServer, ...] = ()  # others that peers are told of, before our own
    tls_cert: Path | None = None  # with tls_key; without them the mediator makes its own
    tls_key: Path | None = None
    insecure: bool = False  # no TLS: it ends somewhere else
    behind_proxy: bool = False  # peers come from the address of a proxy, which says nothing about them
    store: str = field(default=MEMORY, repr=False)  # or the URL of a Redis, in which a password may stand
    advertise: HostPort | None = (
        None  # where this instance's relay and STUN are asked; None: where the peer dialled before
    )
    drain_seconds: float = (
        DEFAULT_DRAIN_SECONDS  # how long those who are just meeting may go on when it is told to stop
    )
    metrics: HostPort | None = None  # where to answer GET /metrics; port 0 lets the system choose
    log_peers: bool = False  # peer ids and addresses in the log, at any level
    limits: Limits = field(default_factory=Limits)

    @property
    def by_address(self) -> bool:
        """Whether a peer's address is its own: what is counted by address, and told to it, has a meaning."""
        return not (self.behind_proxy or self.insecure)
