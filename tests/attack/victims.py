"""Real peers in this process, under attack: they meet by `p2p_peer.connect`, and try to say one message to each other.

Where their packets go is written down, and none leaves this machine.
"""

import asyncio
import contextlib
import errno
import os
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import pytest
from p2p_core import limits
from p2p_core.errors import PunchwireError
from p2p_core.identity import PeerId
from p2p_core.machines import tcp_punch, udp_punch
from p2p_core.packet_budget import PacketBudget
from p2p_core.proof import Role
from p2p_peer import ConnectOptions, attempt, connect, keeper
from p2p_peer.channel import channel, pump
from p2p_peer.cli.exit_codes import exit_code
from p2p_peer.events import ConnectEvent, Encrypted, Matched, MessageReceived, SessionEvent
from p2p_peer.paths import relay
from p2p_peer.session import Session

from tests.keys import key

__all__ = ["HERE", "Ending", "Victim", "both", "connected", "destinations", "elsewhere", "id_of", "impatient", "went"]

HERE = "127.0.0.1"
PATIENCE = 120.0  # s until a test that waits for what does not come fails; each bound of a victim's own is shorter
_T = TypeVar("_T")
_SENDS = ("sendto", "sendmsg", "connect", "connect_ex")


@contextmanager
def impatient(**changed: float) -> Iterator[None]:
    """Let peers give up soon; `changed` are seconds, by the name of the constant."""
    modules = {
        "PUNCH_TIME": (tcp_punch, 1.2),
        "PLAIN_TIME": (udp_punch, 1.2),
        "PREDICTION_TIME": (udp_punch, 1.2),
        "MAX_START_DELAY": (limits, 0.1),
        "HANDSHAKE_TIME": (channel, 5.0),
        "DEPARTURE_GRACE": (attempt, 0.2),
        "AGAIN_WAIT": (attempt, 0.5),
        "LINGER": (pump, 0.1),
        "RECOVERY_TIME": (keeper, 8.0),
        "NOMINATION_TIME": (relay, 3.0),
        "LOOK_EVERY": (keeper, 0.05),
        "RETRY_AFTER": (keeper, 0.1),
    }
    assert set(changed) <= set(modules)
    with pytest.MonkeyPatch.context() as patch:
        for name, (module, value) in modules.items():
            patch.setattr(module, name, changed.get(name, value))
        patch.setattr(attempt, "BUDGET", PacketBudget())  # what an earlier test has spent is no matter
        yield


async def soon(waiting: Awaitable[_T]) -> _T:
    """Await what has to come; fail instead of hanging."""
    return await asyncio.wait_for(waiting, PATIENCE)


async def until(condition: Callable[[], object]) -> None:
    """Let the loop turn until `condition` holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
def went() -> Iterator[Counter[tuple[str, int]]]:
    """Let peers give up soon, and see to it that nothing goes to a third place."""
    with impatient(), destinations() as went:
        yield went
    assert not elsewhere(went)


@contextmanager
def destinations() -> Iterator[Counter[tuple[str, int]]]:
    """Count what this process sends or dials, by address and port; what is not on loopback fails, without a route.

    gRPC's own connections are not among them.
    """
    went: Counter[tuple[str, int]] = Counter()

    def watched(name: str) -> Callable[..., Any]:
        real = getattr(socket.socket, name)

        def call(sock: socket.socket, *arguments: Any) -> Any:
            where = arguments[-1]
            if sock.family in (socket.AF_INET, socket.AF_INET6) and isinstance(where, tuple):
                went[where[:2]] += 1
                if not where[0].startswith("127.") and where[0] != "::1":
                    if name == "connect_ex":
                        return errno.ENETUNREACH
                    raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
            return real(sock, *arguments)

        return call

    with contextlib.ExitStack() as stack:
        for name in _SENDS:
            stack.enter_context(mock.patch.object(socket.socket, name, watched(name)))
        yield went


def elsewhere(went: Counter[tuple[str, int]]) -> Counter[str]:
    """Of that, what went to any address but the victims' own, by address."""
    counts: Counter[str] = Counter()
    for (host, _), count in went.items():
        if host != HERE:
            counts[host] += count
    return counts


def id_of(number: int) -> PeerId:
    """The id of a test key."""
    return PeerId.of(key(number).public_key())


@dataclass(frozen=True)
class Ending:
    """What became of a peer."""

    error: PunchwireError | None
    shown: tuple[str, ...]  # messages of the other side

    @property
    def code(self) -> str:
        """The word for the error; empty for an ordinary end."""
        return "" if self.error is None else self.error.code

    @property
    def exit_code(self) -> int:
        """What the command would end with."""
        return 0 if self.error is None else exit_code(self.error)

    def __str__(self) -> str:
        return f"{self.code or 'done'} ({self.error}), {len(self.shown)} shown"


@dataclass
class Victim:
    """One peer: test key `number`, which wants to meet test key `wanted`."""

    number: int
    wanted: int
    folder: Path
    options: dict[str, Any] = field(default_factory=dict)
    steps: list[ConnectEvent] = field(default_factory=list)
    events: list[SessionEvent] = field(default_factory=list)
    session: Session | None = None
    ended: PunchwireError | None = None

    async def meet(self, port: int, *, bind: bool = True) -> Ending:
        """Meet by the mediator at `port`, say who we are, wait for the same, and leave."""
        try:
            self.session = await soon(self.connected(port, bind=bind))
        except PunchwireError as error:
            return Ending(error, ())
        return await soon(self.talk(self.session))

    async def connected(self, port: int, *, bind: bool = True) -> Session:
        """Connect."""
        options = {"state_dir": self.folder / f"peer {self.number}", "port_mapping": False, **self.options}
        if bind:
            options.setdefault("bind", IPv4Address(HERE))
        return await connect(
            HERE,
            port,
            key(self.number),
            key(self.wanted).public_key(),
            options=ConnectOptions(**options),
            notify=self.steps.append,
        )

    async def talk(self, session: Session) -> Ending:
        """Say one message, wait for one, and leave."""
        try:
            async with session:
                said = session.send_message(f"from {self.number}")
                async for event in session:
                    self.events.append(event)
                    if isinstance(event, MessageReceived):
                        break
                await said
        except PunchwireError as error:
            return Ending(error, self.shown)
        return Ending(None, self.shown)

    async def read(self) -> Ending:
        """Take events until the session is over."""
        assert self.session is not None
        try:
            async for event in self.session:
                self.events.append(event)
        except PunchwireError as error:
            self.ended = error
        return Ending(self.ended, self.shown)

    async def says(self, text: str, other: "Victim") -> None:
        """Say something, and wait until the other one was shown it."""
        assert self.session is not None
        await soon(self.session.send_message(text))
        await until(lambda: text in other.shown)

    @property
    def role(self) -> Role:
        """What the mediator made of it."""
        return next(step.role for step in self.steps if isinstance(step, Matched))

    @property
    def shown(self) -> tuple[str, ...]:
        """What the other side has said."""
        return tuple(event.text for event in self.events if isinstance(event, MessageReceived))

    @property
    def encrypted(self) -> bool:
        """Whether anybody took it through a TLS or QUIC handshake."""
        return any(isinstance(step, Encrypted) for step in self.steps)


@asynccontextmanager
async def connected(port: int, folder: Path, **options: Any) -> AsyncIterator[tuple[Victim, Victim]]:
    """Test keys 0 and 1 with a session between them, whose events are read; it is ended at once when this is left."""
    pair = Victim(0, 1, folder, options), Victim(1, 0, folder, options)
    sessions = await soon(asyncio.gather(*(victim.connected(port) for victim in pair)))
    for victim, session in zip(pair, sessions, strict=True):
        victim.session = session
    reading = [asyncio.create_task(victim.read()) for victim in pair]
    try:
        yield pair
    finally:
        await soon(asyncio.gather(*(session.abort("the test is over") for session in sessions)))
        await soon(asyncio.gather(*reading))


async def both(port: int, folder: Path, **options: Any) -> tuple[Ending, Ending]:
    """Let test keys 0 and 1 meet each other."""
    ends = await asyncio.gather(*(Victim(n, 1 - n, folder, options).meet(port) for n in (0, 1)))
    return ends[0], ends[1]
