"""Drives the TCP punch machine with real sockets: listeners, dials and preambles, all on the punch port."""

import asyncio
import contextlib
import errno
import logging
import os
import random
import socket
import struct
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from p2p_core.errors import NoPath, PunchwireError
from p2p_core.machines.patience import Wait
from p2p_core.machines.tcp_punch import Abort, Action, Close, Dial, Fail, Keep, Outcome, Send, TcpPunch
from p2p_core.packet_budget import PacketBudget
from p2p_core.proof import PathKind, Role
from p2p_core.punching import PunchTerms
from p2p_core.wire.candidate import Address

from p2p_peer.gather.punch_port import PunchPort
from p2p_peer.paths.base import Path

__all__ = ["TcpPunching"]

_PACKETS = (
    3  # of a dial that nobody answers, at most: a SYN, and one more after 1 s and 2 s if it is not given up before
)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER 0: a connection that was not chosen leaves no TIME_WAIT behind

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Held:
    socket: socket.socket
    address: Address
    dialled: Address | None


class TcpPunching:
    """Punches from the moment it is made. The port stays the caller's, who punches from it once at a time.

    found      initiator: done in the moment in which a connection is nominated: from then on the other side takes it
    nominated  responder: the path, done when the other side has nominated a connection
    exhausted  done when nothing more will be tried, with a clause that says what was

    The future of its role ends with `MediatorLied` when both sides have the same one.
    """

    def __init__(
        self,
        port: PunchPort,
        terms: PunchTerms,
        targets: Iterable[Address],
        *,
        start: float,
        round_trip: float,
        budget: PacketBudget,
        wait: Wait | None = None,
    ) -> None:
        """Punch towards `targets` from `start` on the event loop's clock; `round_trip` is in seconds.

        `wait` is for a side that may begin later.
        """
        self._loop = asyncio.get_running_loop()
        self.found: asyncio.Future[None] = self._loop.create_future()
        self.nominated: asyncio.Future[Path] = self._loop.create_future()
        self.exhausted: asyncio.Future[str] = self._loop.create_future()
        self._port, self._role, self._budget = port, terms.role, budget
        self._machine = TcpPunch(
            terms,
            targets,
            start=start,
            round_trip=round_trip,
            random=random.random,
            fresh_nonce=os.urandom,
            wait=wait,
        )
        self._dials: dict[Address, asyncio.Task[None]] = {}
        self._told: dict[Address, str] = {}  # what was last logged of each dial: it goes the same way many times over
        self._held: dict[int, _Held] = {}
        self._next_number = 0
        self._timer: asyncio.TimerHandle | None = None
        self._path: Path | None = None  # initiator: that was found, and not yet taken
        for listener in port.listeners:
            self._loop.add_reader(listener, self._accept, listener)
        self._go_on()

    def learn(self, terms: PunchTerms, targets: Iterable[Address]) -> None:
        """Go on with what is known of the other side from now on."""
        self._machine.learn(terms, targets, self._loop.time())
        self._go_on()

    def hurry(self) -> None:
        """Dial quickly again: the other side is there."""
        self._machine.hurry(self._loop.time())
        self._go_on()

    def nominate(self) -> Path:
        """Take the connection that was found. The other side knows already."""
        assert self._path is not None, "nothing was found yet"
        path, self._path = self._path, None
        return path

    def close(self) -> None:
        """Let go of everything but a path that was taken."""
        self._stop()
        if self._path is not None:
            self._path.socket.close()
        for future in (self.found, self.nominated):
            if future.done() and not future.cancelled():
                future.exception()  # seen by whoever waited, or of no interest any more

    def _stop(self) -> None:
        for listener in self._port.listeners:
            self._loop.remove_reader(listener)
        if self._timer is not None:
            self._timer.cancel()
        for task in self._dials.values():
            task.cancel()
        for number in tuple(self._held):
            self._drop(number)

    def _go_on(self) -> None:
        """Carry out what the machine wants, and arm its timer."""
        while (action := self._machine.next_action()) is not None:
            self._do(action)
        if self._timer is not None:
            self._timer.cancel()
        deadline = self._machine.deadline()
        self._timer = None if deadline is None else self._loop.call_at(deadline, self._on_deadline)

    def _do(self, action: Action) -> None:
        match action:
            case Dial(address, leave):
                if address not in self._told:
                    self._tell(address, "started")
                self._dials[address] = self._loop.create_task(self._dial(address, leave))
            case Abort(address):
                self._tell(address, Outcome.TIMED_OUT.value)
                self._dials.pop(address).cancel()
            case Send(connection, data):
                self._send(connection, data)
            case Close(connection):
                self._drop(connection)
            case Keep(connection):
                self._keep(connection)
            case Fail(error):
                self._fail(error)

    def _keep(self, number: int) -> None:
        held = self._held.pop(number, None)
        self._stop()
        if held is None:
            self.exhausted.set_result("the connection to the other side broke as it was chosen")
            return
        _log.info("chosen: the connection that %s %s", "went to" if held.dialled else "came from", held.address)
        self._loop.remove_reader(held.socket)
        self._budget.answered(held.address.ip, self._loop.time())
        path = Path(PathKind.TCP, held.socket, held.address)
        if self._role is Role.INITIATOR:
            self._path = path
            self.found.set_result(None)
        else:
            self.nominated.set_result(path)

    def _tell(self, address: Address, what: str) -> None:
        """Log what becomes of a dial, unless it became that before."""
        if self._told.get(address) != what:
            self._told[address] = what
            _log.debug("dial to %s: %s", address, what)

    def _fail(self, error: PunchwireError) -> None:
        self._stop()
        if isinstance(error, NoPath):
            self.exhausted.set_result(str(error))
        elif self._role is Role.INITIATOR:
            self.found.set_exception(error)
        else:
            self.nominated.set_exception(error)

    def _on_deadline(self) -> None:
        self._machine.on_deadline(self._loop.time())
        self._go_on()

    async def _dial(self, address: Address, leave: int) -> None:
        if not all(self._budget.spend(address.ip, self._loop.time(), leave=leave) for _ in range(_PACKETS)):
            del self._dials[address]
            self._tell(address, Outcome.SPENT.value)
            self._machine.dial_failed(address, Outcome.SPENT, self._loop.time())
            self._go_on()
            return
        sock = None
        try:
            sock = self._port.socket_towards(address)
            if (
                sys.platform == "linux"
            ):  # elsewhere, and where the round trip is above 1 s, more than `_PACKETS` may go out
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_SYNCNT, 1)
            await self._loop.sock_connect(sock, (address.host, address.port))
        except OSError as error:
            if sock is not None:
                sock.close()
            del self._dials[address]
            outcome = _outcome(error)
            self._tell(address, outcome.value)
            self._machine.dial_failed(address, outcome, self._loop.time())
        except asyncio.CancelledError:
            if sock is not None:
                sock.close()
            raise
        else:
            del self._dials[address]
            _log.debug("dial to %s: connected", address)
            self._hold(sock, address, dialled=address)
        self._go_on()

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, name = listener.accept()
        except OSError:  # it was gone before we looked
            return
        sock.setblocking(False)
        address = Address.of(name[0], name[1])
        _log.debug("accepted a connection from %s", address)
        self._hold(sock, address, dialled=None)
        self._go_on()

    def _hold(self, sock: socket.socket, address: Address, dialled: Address | None) -> None:
        number = self._next_number = self._next_number + 1
        with contextlib.suppress(OSError):  # macOS: it is gone already, as reading will show
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._held[number] = _Held(sock, address, dialled)
        self._loop.add_reader(sock, self._on_readable, number)
        self._machine.connected(number, self._loop.time(), dialled=dialled)

    def _on_readable(self, number: int) -> None:
        held = self._held[number]
        try:
            wanted = self._machine.wanted(number)
            data = held.socket.recv(wanted) if wanted else b""
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._machine.received(number, data)
        else:
            self._drop(number)
            self._machine.lost(number, self._loop.time(), dialled=held.dialled)
        self._go_on()

    def _send(self, number: int, data: bytes) -> None:
        held = self._held[number]
        try:
            sent = held.socket.send(data)
        except OSError:
            sent = 0
        if sent < len(data):  # a new socket takes 40 bytes, or it is broken
            self._drop(number)
            self._machine.lost(number, self._loop.time(), dialled=held.dialled)

    def _drop(self, number: int) -> None:
        held = self._held.pop(number, None)
        if held is None:
            return
        self._loop.remove_reader(held.socket)
        with contextlib.suppress(OSError):
            held.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        held.socket.close()


def _outcome(error: OSError) -> Outcome:
    if error.errno in (errno.ECONNREFUSED, errno.ECONNRESET):
        return Outcome.REFUSED
    return Outcome.TIMED_OUT if error.errno == errno.ETIMEDOUT else Outcome.UNREACHABLE
