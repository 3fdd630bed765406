"""Keeps a session on a channel: makes another when the path is lost, and a direct one when it is only relayed.

Whichever side wants another channel advertises an offer for it, and tells the other side by a signal; what follows is
an attempt like the first one. docs/protocol/session.md, "Channels".
"""

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from dataclasses import dataclass

from p2p_core import limits
from p2p_core.agreement import Agreement, OtherSession
from p2p_core.errors import ConnectionLost, Malformed, MediatorUnreachable, PeerDidNotCome, PunchwireError
from p2p_core.machines.channels import FellSilent
from p2p_core.proof import PathKind, Role
from p2p_core.punching import PunchPurpose
from p2p_core.wire import rejoin

from p2p_peer.attempt import Attempts, Made
from p2p_peer.mediation import HOPELESS, Mediation
from p2p_peer.options import Paths
from p2p_peer.paths.relay import RelayLimit
from p2p_peer.session import Session

__all__ = ["Keeper"]

RECOVERY_TIME = 60.0  # s without a channel until the session is given up: a laptop changes networks in a tenth of it
# Once the mediator has said that the other side left it, its program has ended, or its network has changed. It notices
# that path and mediator are dead as late as we do, give or take the 5 s between two pings, and comes again at once.
GONE_TIME = 3.0  # s, when its system has ended the path, as it does for a program that ends
RETURN_TIME = 10.0  # s, when nobody has
COMING_TIME = 10.0  # s for the other side to come to an attempt
UPGRADE_AFTER = (0.5, 2.0, 5.0, 15.0, 30.0)  # s of relaying before each try of something direct, with fresh sockets
RETRY_AFTER = 0.5  # s between attempts while there is no channel
SAY_EVERY = 15.0  # s without a channel between two words to the user on why
# The other side may call again and again, and each attempt asks STUN servers and the router: so many at once, and then
# one in so many seconds. An honest one that fails takes longer by itself.
ATTEMPTS_AT_ONCE = 10
ATTEMPT_EVERY = 5.0  # s
LOOK_EVERY = 0.25  # s between two looks at whether the other side is gone

_NOT_YET = "the other side has not come yet"
_NO_MEDIATOR = "the mediator cannot be reached"
_GONE = "it has left the mediator, too: its program has ended, or it is cut off"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """An attempt."""

    number: int  # of the channel
    relay: bool
    patience: asyncio.Timeout


class Keeper:
    """Watches over one session until it ends. Implements `session_driver.Keeper`."""

    def __init__(self, first: Agreement, attempts: Attempts, mediation: Mediation, paths: Paths) -> None:
        self._first, self._attempts, self._mediation = first, attempts, mediation
        self._paths = paths
        self._watched: Session | None = None
        self._loop = asyncio.get_running_loop()
        self._counter = first.counter  # of the present channel, or the last one
        self._next = first.counter + 1  # the channel that is tried next, unless the other side asks for a later one
        self._under_way: _UnderWay | None = None
        self._wanted = 0  # the channel that the other side has asked for since the last attempt began
        self._upgrades = 0  # tried since the session was last on a direct path
        self._lost_at: float | None = None
        self._why_not = _NOT_YET  # a clause: what the last attempt failed of, while there is no channel
        self._paid_until = 0.0  # when all attempts made so far will have had `ATTEMPT_EVERY` each
        self._woken = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, session: Session) -> None:
        """Begin to watch over `session`, which was made with this keeper."""
        self._watched = session
        self._run(self._keep())

    async def stop(self) -> None:
        """Stop watching; returns when nothing is left of it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def channel_lost(self, error: PunchwireError) -> bool:
        """Take note that the session has lost its channel; True: another one is looked for."""
        if self._lost_at is None:
            self._lost_at, self._why_not = self._loop.time(), _NOT_YET
            self._run(self._mourn(error))
            self._woken.set()
            if self._under_way is not None and not self._under_way.relay:
                self._cut_short()
        return True

    @property
    def _session(self) -> Session:
        assert self._watched is not None
        return self._watched

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _keep(self) -> None:
        while not self._session.is_over:
            listening = self._loop.create_task(self._listen())
            try:
                await self._wait_until_due()
                if not self._session.is_over:
                    await self._another_channel()
            finally:
                listening.cancel()
                await asyncio.wait([listening])

    async def _listen(self) -> None:
        """Take the other side's calls for another channel."""
        key = self._first.punch_key(self._first.role.other, PunchPurpose.REJOIN)
        while True:
            peer, body = await self._mediation.client.signalled()
            if peer != self._attempts.peer:
                continue
            try:
                number = rejoin.decode(body, key)
                if number <= self._counter + limits.MAX_CHANNELS_AHEAD:
                    self._wanted = max(self._wanted, number)
                    if self._under_way is not None and number > self._under_way.number:
                        self._cut_short()  # the other side has
            except Malformed as error:
                _log.info("a signal that is not the other side's: %s", error)
            self._woken.set()

    async def _wait_until_due(self) -> None:
        """Return when another channel is wanted."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._upgrade_after()):
                while self._lost_at is None and self._wanted <= self._counter:
                    await self._woken.wait()
                    self._woken.clear()
                return
        self._upgrades += 1

    def _upgrade_after(self) -> float | None:
        """How long to wait before something direct is tried; None: it is not. The initiator tries, the other comes."""
        relayed = self._session.path is PathKind.RELAY and self._paths is Paths.ANY
        if not relayed or self._first.role is not Role.INITIATOR or self._upgrades >= len(UPGRADE_AFTER):
            return None
        return UPGRADE_AFTER[self._upgrades]

    async def _pace(self) -> None:
        """Wait until one more attempt may be made."""
        now = self._loop.time()
        self._paid_until = max(self._paid_until, now) + ATTEMPT_EVERY
        await asyncio.sleep(self._paid_until - now - ATTEMPTS_AT_ONCE * ATTEMPT_EVERY)

    async def _another_channel(self) -> None:
        """Try to make one."""
        called, self._wanted = self._wanted, 0
        number = max(self._next, called)
        try:
            if self._mediation.is_lost:
                self._why_not = _NO_MEDIATOR
            # What ended the path may have ended the stream to the mediator too, unless a call has just come over it.
            await self._mediation.renew(is_doubtful=self._lost_at is not None and called < number)
            await self._pace()
            if called < number:
                await self._call(number)
            relay = self._lost_at is not None or called == number  # who calls says in its offer whether it relays
            if (made := await self._attempt(number, relay)) is not None:
                self._move_to(made)
        except OtherSession:
            self._session.give_up(ConnectionLost("the other side has begun a new session"))
        except PunchwireError as error:
            _log.info("no channel %d: %s", number, error)
            await self._go_without(error)

    async def _attempt(self, number: int, relay: bool) -> Made | None:
        """Make one; None when that was cut short."""
        try:
            async with asyncio.timeout(None) as patience:
                self._under_way = _UnderWay(number, relay, patience)
                return await self._attempts.further(self._first, number, wait=COMING_TIME, relay=relay)
        except TimeoutError:
            _log.info("no channel %d: the next one promises more", number)
            self._next = number + 1  # which tells the other side to leave the attempt, too
            return None
        finally:
            self._under_way = None

    def _move_to(self, made: Made) -> None:
        self._counter, self._lost_at = made.agreement.counter, None
        self._next = self._counter + 1
        if made.channel.path.kind is not PathKind.RELAY:
            self._upgrades = 0
        self._session.move_to(made.channel, made.why_no_better)

    def _cut_short(self) -> None:
        """End the attempt that is under way, for another one."""
        if self._under_way is not None:
            self._under_way.patience.reschedule(self._loop.time())
            self._under_way = None

    async def _call(self, number: int) -> None:
        """Ask the other side to come."""
        key = self._first.punch_key(self._first.role, PunchPurpose.REJOIN)
        await self._mediation.client.signal(self._attempts.peer, rejoin.encode(number, key))

    async def _go_without(self, error: PunchwireError) -> None:
        """An attempt came to nothing: wait a moment, or give up."""
        if isinstance(error, HOPELESS):
            self._upgrades = len(UPGRADE_AFTER)
        if self._lost_at is not None:
            self._why_not = _clause(error)
            if isinstance(error, (*HOPELESS, RelayLimit)):
                self._session.give_up(error)
                return
            await asyncio.sleep(RETRY_AFTER)

    async def _mourn(self, error: PunchwireError) -> None:
        """Say now and then why there is no other channel; give the session up when that has been so for too long."""
        lost_at, gone_since = self._lost_at, None
        was_ended = self._session.path is not PathKind.RELAY and not isinstance(error, FellSilent)
        gone_time = GONE_TIME if was_ended else RETURN_TIME
        assert lost_at is not None
        said_at = lost_at
        while self._lost_at == lost_at and not self._session.is_over:
            now = self._loop.time()
            gone = self._mediation.client.has_left(self._attempts.peer)
            gone_since = (gone_since or now) if gone else None
            if gone_since is not None and now >= gone_since + gone_time:
                self._session.give_up(ConnectionLost(f"{error}; {_GONE}"))
                return
            if now >= lost_at + RECOVERY_TIME:
                what = f"{error}; no other connection came up within {RECOVERY_TIME:g} s: {self._why_not}"
                self._session.give_up(ConnectionLost(what))
                return
            if now >= said_at + SAY_EVERY:
                said_at = now
                self._session.still_looking(self._why_not)
            await asyncio.sleep(LOOK_EVERY)


def _clause(error: PunchwireError) -> str:
    """Say what an attempt failed of; addresses and names are known by now."""
    match error:
        case PeerDidNotCome():
            return "the other side did not come"
        case MediatorUnreachable():
            return _NO_MEDIATOR
        case _:
            return str(error)
