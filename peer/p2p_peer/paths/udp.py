"""Drives the UDP punch machine with real sockets; a pair that is nominated becomes a QUIC path."""

import asyncio
import logging
import os
import random
import resource
import socket
from collections.abc import Sequence
from functools import partial

from p2p_core.machines.patience import Wait
from p2p_core.machines.udp_actions import Action, Close, Exhausted, Fail, Found, Open, Pair, Send
from p2p_core.machines.udp_punch import UdpPunch
from p2p_core.packet_budget import PacketBudget
from p2p_core.proof import PathKind, Role
from p2p_core.punching import PunchTerms
from p2p_core.wire.candidate import Address

from p2p_peer.gather.udp_socket import UdpSocket
from p2p_peer.paths.base import Path

__all__ = ["UdpPunching"]

SPARE_FILES = 64  # of those this process may have open, left for everything else when many sockets are opened
_INITIAL_BYTES = 1200  # RFC 9000 §14.1: a client's first datagrams are at least so long
_LONG_HEADER = 0xC0  # §17.2: the two first bits of every packet of a handshake
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}

_log = logging.getLogger(__name__)


class UdpPunching:
    """Punches from the moment it is made. The sockets are its own from then on, and it closes them.

    found      initiator: done when a pair is valid, which stays so for as long as this punches
    nominated  responder: the path, done when the other side began QUIC on a pair that it had nominated
    exhausted  done when nothing more will be tried, with a clause that says what was
    heard      done when something authentic came: the other side is there

    The future of its role ends with `MediatorLied` when both sides have the same one.
    """

    def __init__(
        self,
        sockets: Sequence[UdpSocket],
        terms: PunchTerms,
        targets: Sequence[Address],
        *,
        start: float,
        round_trip: float,
        budget: PacketBudget,
        observed: Address | None,
        wait: Wait | None = None,
    ) -> None:
        """Punch towards `targets` from `start` on the event loop's clock; `observed` is the mediator's view of them.

        `wait` is for a side that may begin later.
        """
        self._loop = asyncio.get_running_loop()
        self._role = terms.role
        self.found: asyncio.Future[None] = self._loop.create_future()
        self.nominated: asyncio.Future[Path] = self._loop.create_future()
        self.exhausted: asyncio.Future[str] = self._loop.create_future()
        self.heard: asyncio.Future[None] = self._loop.create_future()
        self._machine = UdpPunch(
            terms,
            targets,
            [6 if held.family == socket.AF_INET6 else 4 for held in sockets],
            observed=observed,
            start=start,
            round_trip=round_trip,
            budget=budget,
            random=random.random,
            fresh_nonce=os.urandom,
            wait=wait,
        )
        self._sockets: dict[int, UdpSocket] = {}
        self._timer: asyncio.TimerHandle | None = None
        for number, held in enumerate(sockets):
            self._hold(number, held)
        self._go_on()

    def learn(self, terms: PunchTerms, targets: Sequence[Address]) -> None:
        """Go on with what is known of the other side from now on."""
        self._machine.learn(terms, targets, self._loop.time())
        self._go_on()

    def nominate(self) -> Path:
        """Take the best pair that was found; the path's nomination tells the other side."""
        pair = self._machine.best()
        assert pair is not None, "nothing was found yet"
        return Path(PathKind.QUIC, self._take(pair), pair.address, nomination=self._machine.nomination(pair))

    def close(self) -> None:
        """Let go of everything but a path that was taken."""
        self._machine.finish()
        if self._timer is not None:
            self._timer.cancel()
        for number in tuple(self._sockets):
            self._drop(number)
        for future in (self.found, self.nominated):
            if future.done() and not future.cancelled():
                future.exception()  # seen by whoever waited, or of no interest any more

    def _hold(self, number: int, held: UdpSocket) -> None:
        self._sockets[number] = held
        held.on_probe(partial(self._probe_came, number))
        if self._role is Role.RESPONDER:
            held.on_quic(partial(self._quic_came, number))

    def _drop(self, number: int) -> None:
        held = self._sockets.pop(number, None)
        if held is not None:
            held.close()

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
            case Send(pair, data):
                held = self._sockets.get(pair.socket)
                if held is not None:
                    held.send(data, pair.address)
            case Open(number, version):
                self._open(number, _FAMILIES[version])
            case Close(number):
                self._drop(number)
            case Found():
                _log.info("UDP: %s answers", self._best())
                if self._role is Role.INITIATOR and not self.found.done():
                    self.found.set_result(None)
            case Exhausted(why):
                _log.info("UDP: %s", why)
                if not self.exhausted.done():
                    self.exhausted.set_result(why)
            case Fail(error):
                ends = self.found if self._role is Role.INITIATOR else self.nominated
                if not ends.done():
                    ends.set_exception(error)

    def _open(self, number: int, family: socket.AddressFamily) -> None:
        """Open one more socket, unless files get scarce."""
        try:
            held = UdpSocket.open(family)
        except OSError:
            return
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if limit != resource.RLIM_INFINITY and held.socket.fileno() >= limit - SPARE_FILES:  # the lowest free one
            held.close()
            return
        self._hold(number, held)

    def _on_deadline(self) -> None:
        self._machine.on_deadline(self._loop.time())
        self._go_on()

    def _probe_came(self, number: int, data: bytes, source: Address) -> None:
        self._machine.receive(number, data, source, self._loop.time())
        if self._machine.is_heard and not self.heard.done():
            self.heard.set_result(None)
        self._go_on()

    def _quic_came(self, number: int, data: bytes, source: Address) -> None:
        """Follow the initiator, which begins QUIC on the pair that it has nominated."""
        pair = Pair(number, source)
        begins = data[0] >= _LONG_HEADER and len(data) >= _INITIAL_BYTES
        if begins and self._machine.is_nominated(pair) and not self.nominated.done():
            self.nominated.set_result(Path(PathKind.QUIC, self._take(pair), pair.address, early=(data,)))

    def _take(self, pair: Pair) -> socket.socket:
        """Keep the socket of a pair, in which everything waits that comes now, and close the others."""
        _log.info("chosen: UDP with %s", pair.address)
        held = self._sockets.pop(pair.socket)
        self.close()
        return held.detach()

    def _best(self) -> Address | None:
        pair = self._machine.best()
        return None if pair is None else pair.address
